"""The memory of the loss, from compiled programs; nothing is timed here."""

from bench.growth import loss_bytes


def test_the_memory_of_the_loss_grows_with_the_square_of_the_batch_and_in_chunks_with_the_batch():
    whole, chunked = ([loss_bytes(size, chunk) for size in (2048, 8192)] for chunk in (None, 256))
    assert whole[1] > 8192 * 8192 * 4 and whole[1] > 8 * whole[0]  # at least one matrix of logits
    assert chunked[1] < 5 * chunked[0] and chunked[1] < whole[1] / 3
