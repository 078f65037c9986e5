"""Programs written by hand, in the forms that the compilers for CPUs and TPUs print."""

import pytest

from jaxclip.planning.flops import bfloat16_flops, matmul_flops
from jaxclip.planning.hbm_traffic import hbm_bytes
from jaxclip.planning.hlo import executed, parse

# A loop of 12 trips around a fused matrix product, as TPUs write it: no trip count, layouts with tiles, memory spaces.
TPU_LOOP = """
HloModule jit_f, is_scheduled=true, num_partitions=16

%fused (param_0: bf16[128,512], param_1: bf16[12,512,512], param_2: s32[]) -> bf16[128,512] {
  %param_0 = bf16[128,512]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %param_1 = bf16[12,512,512]{2,1,0:T(8,128)(2,1)} parameter(1)
  %param_2 = s32[]{:T(128)S(6)} parameter(2)
  %zero = s32[]{:T(128)} constant(0)
  %slice = bf16[1,512,512]{2,1,0:T(8,128)(2,1)} dynamic-slice(%param_1, %param_2, %zero, %zero), dynamic_slice_sizes={1,512,512}
  %flat = bf16[512,512]{1,0:T(8,128)(2,1)} bitcast(%slice)
  ROOT %product = bf16[128,512]{1,0:T(8,128)(2,1)S(1)} convolution(%param_0, %flat), dim_labels=bf_io->bf
}

%body (carry: (s32[], bf16[128,512], bf16[12,512,512])) -> (s32[], bf16[128,512], bf16[12,512,512]) {
  %carry = (s32[]{:T(128)}, bf16[128,512]{1,0:T(8,128)(2,1)S(1)}, /*index=2*/bf16[12,512,512]{2,1,0:T(8,128)(2,1)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%carry), index=0
  %x = bf16[128,512]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%carry), index=1
  %w = bf16[12,512,512]{2,1,0:T(8,128)(2,1)} get-tuple-element(%carry), index=2
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  %y = bf16[128,512]{1,0:T(8,128)(2,1)S(1)} fusion(%x, %w, %i), kind=kOutput, calls=%fused
  ROOT %out = (s32[]{:T(128)}, bf16[128,512]{1,0:T(8,128)(2,1)S(1)}, bf16[12,512,512]{2,1,0:T(8,128)(2,1)}) tuple(%next, %y, %w)
}

%condition (carry.1: (s32[], bf16[128,512], bf16[12,512,512])) -> pred[] {
  %carry.1 = (s32[]{:T(128)}, bf16[128,512]{1,0:T(8,128)(2,1)S(1)}, bf16[12,512,512]{2,1,0:T(8,128)(2,1)}) parameter(0)
  %limit = s32[]{:T(128)} constant(12)
  %i.1 = s32[]{:T(128)} get-tuple-element(%carry.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (x.1: bf16[128,512], w.1: bf16[12,512,512]) -> bf16[128,512] {
  %x.1 = bf16[128,512]{1,0:T(8,128)(2,1)} parameter(0), metadata={op_name="x (the input)"}
  %w.1 = bf16[12,512,512]{2,1,0:T(8,128)(2,1)} parameter(1)
  %start = s32[]{:T(128)} constant(0)
  %carried = (s32[]{:T(128)}, bf16[128,512]{1,0:T(8,128)(2,1)S(1)}, bf16[12,512,512]{2,1,0:T(8,128)(2,1)}) tuple(%start, %x.1, %w.1)
  %loop = (s32[]{:T(128)}, bf16[128,512]{1,0:T(8,128)(2,1)S(1)}, bf16[12,512,512]{2,1,0:T(8,128)(2,1)}) while(%carried), condition=%condition, body=%body
  ROOT %result = bf16[128,512]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%loop), index=1
}
"""  # noqa: E501


def _entry(*lines: str) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n\nENTRY %main () -> f32[] {{\n{body}\n}}\n"


def test_a_loop_counts_as_often_as_it_runs():
    module = parse(TPU_LOOP)
    assert matmul_flops(module) == 12 * 2 * 128 * 512 * 512
    counts = {step.instruction.name: (step.count, step.fused) for step in executed(module)}
    assert counts["product"] == (12, True)
    assert counts["y"] == (12, False)
    assert counts["loop"] == (1, False)


def test_a_slice_of_the_weights_is_read_each_trip_and_what_is_on_the_chip_is_free():
    # x and y lie in memory space 1; per trip the fusion reads 512² weights of 2 bytes and the counter of 4 bytes in
    # the main memory; the next counter lies in space 6, but is made from two numbers of 4 bytes.
    assert hbm_bytes(parse(TPU_LOOP)) == 12 * (512 * 512 * 2 + 4 + 8)


def test_the_trip_count_that_the_cpu_compiler_writes_is_taken():
    text = TPU_LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}')
    assert matmul_flops(parse(text)) == 7 * 2 * 128 * 512 * 512


def test_a_loop_of_unknown_length_counts_once():
    text = TPU_LOOP.replace("direction=LT", "direction=NE")
    assert matmul_flops(parse(text)) == 2 * 128 * 512 * 512


def test_dot_of_a_batch():
    text = _entry(
        "%a = f32[5,7,11]{2,1,0} parameter(0)",
        "%b = f32[5,11,13]{2,1,0} parameter(1)",
        "ROOT %c = f32[5,7,13]{2,1,0} dot(%a, %b), lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_batch_dims={0}, "
        "rhs_contracting_dims={1}",
    )
    assert matmul_flops(parse(text)) == 2 * 5 * 7 * 11 * 13


@pytest.mark.parametrize(
    ("window", "inputs", "outputs", "products"),
    [
        ("size=3x3 pad=1_1x1_1", 4, 4, (3 * 4 - 2) ** 2),  # each border misses one of three places
        ("size=2x2 stride=2x2", 4, 2, (2 * 2) ** 2),
        ("size=3x3 stride=2x2 pad=1_1x1_1", 4, 2, (2 + 3) ** 2),  # the first output misses one place
    ],
)
def test_convolution(window, inputs, outputs, products):
    size = window[5]
    text = _entry(
        f"%x = f32[2,{inputs},{inputs},3]{{3,2,1,0}} parameter(0)",
        f"%w = f32[{size},{size},3,5]{{3,2,1,0}} parameter(1)",
        f"ROOT %y = f32[2,{outputs},{outputs},5]{{3,2,1,0}} convolution(%x, %w), window={{{window}}}, "
        "dim_labels=b01f_01io->b01f",
    )
    assert matmul_flops(parse(text)) == 2 * 2 * products * 3 * 5


def test_batched_product_as_a_dilated_convolution():
    # Eight products [64, 16] × [16, 32] along a spatial axis: each output place meets one place of the window, as the
    # stride skips the others and the gaps between inputs hold nothing.
    text = _entry(
        "%x = bf16[8,64,16]{2,1,0} parameter(0)",
        "%w = bf16[8,16,32]{2,1,0} parameter(1)",
        "ROOT %y = bf16[8,64,32]{2,1,0} convolution(%x, %w), window={size=8 stride=7 pad=0_0 lhs_dilate=8}, "
        "dim_labels=0bf_0io->0bf",
    )
    assert matmul_flops(parse(text)) == 8 * 2 * 64 * 16 * 32


@pytest.mark.parametrize(
    ("type", "precision", "passes"),
    [("f32", "", 1), ("f32", "highest", 6), ("f32", "high", 3), ("bf16", "highest", 1)],
)
def test_float32_products_of_high_precision_take_several_passes(type, precision, passes):
    asked = f", operand_precision={{{precision},{precision}}}" if precision else ""
    text = _entry(
        f"%a = {type}[8,16]{{1,0}} parameter(0)",
        f"%b = {type}[16,4]{{1,0}} parameter(1)",
        f"ROOT %c = f32[8,4]{{1,0}} dot(%a, %b), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}{asked}",
    )
    assert matmul_flops(parse(text)) == 2 * 8 * 16 * 4
    assert bfloat16_flops(parse(text)) == passes * 2 * 8 * 16 * 4


def test_text_without_a_program():
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("HloModule empty\n")


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        ("f32[256]{0} add(%a, %a)", 3 * 1024),  # two reads and a write
        ("f32[256]{0:S(1)} add(%v, %a)", 1024),  # v and the result are on the chip
        ("f32[64]{0} slice(%a), slice={[0:64]}", 2 * 256),
        ("(f32[256]{0:S(1)}, f32[256]{0}, u32[]{:S(2)}) copy-start(%a)", 1024),  # into the chip: read only
        ("(f32[256]{0}, f32[256]{0:S(1)}, u32[]{:S(2)}) copy-start(%v)", 1024),  # out of it: written only
        ("((f32[256]{0}), f32[64]{0:S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:64]}", 256),
        ("f32[256]{0} dynamic-update-slice(%a, %u, %i)", 2 * 256),  # in place: the update is read and written
        ("f32[256]{0} scatter(%a, %i, %u), to_apply=%add", 2 * 256),
        ('f32[256]{0} custom-call(), custom_call_target="AllocateBuffer"', 0),
        ('f32[256]{0} custom-call(%a), custom_call_target="tpu_custom_call"', 2 * 1024),
        ("f32[256]{0} bitcast(%a)", 0),
    ],
)
def test_bytes_of_the_main_memory(line, moved):
    text = _entry(
        "%a = f32[256]{0} parameter(0)",
        "%v = f32[256]{0:S(1)} parameter(1)",
        "%u = f32[64]{0} parameter(2)",
        "%i = s32[]{:S(6)} parameter(3)",
        f"ROOT %y = {line}",
    )
    assert hbm_bytes(parse(text)) == moved


# An all-gather that the TPU compiler runs beside a loop of 3 trips: begun before it, a stretch of it in each trip's
# fusion, which hands the buffers on, and ended behind it.
TPU_STRETCHES = """
HloModule jit_f, is_scheduled=true, num_partitions=4

%begins (p: f32[256]) -> (f32[256], f32[1024], u32[]) {
  %p = f32[256]{0:T(256)S(1)} parameter(0)
  %gather = f32[1024]{0:T(256)} all-gather(%p), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %start = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, u32[]{:S(2)}) custom-call(%gather), custom_call_target="AsyncCollectiveStart"
}

%goes_on (p: f32[256], q: f32[1024], w: f32[64]) -> (f32[64], f32[256], f32[1024], f32[1024]) {
  %w = f32[64]{0:T(64)} parameter(2)
  %work = f32[64]{0:T(64)S(1)} negate(%w)
  %p = f32[256]{0:T(256)S(1)} parameter(0)
  %q = f32[1024]{0:T(256)} parameter(1)
  %gather = f32[1024]{0:T(256)} all-gather(%p), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %all = (f32[64]{0:T(64)S(1)}, f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[1024]{0:T(256)}) tuple(%work, %p, %q, %gather)
}

%ends (p: f32[256], q: f32[1024]) -> f32[1024] {
  %p = f32[256]{0:T(256)S(1)} parameter(0)
  %q = f32[1024]{0:T(256)} parameter(1)
  %gather = f32[1024]{0:T(256)} all-gather(%p), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={0}, frontend_attributes={chain_id="0"}
  ROOT %done = f32[1024]{0:T(256)} custom-call(%p, %q, %gather), custom_call_target="AsyncCollectiveDone"
}

%body (c: (f32[256], f32[1024], f32[64])) -> (f32[256], f32[1024], f32[64]) {
  %c = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[64]{0:T(64)}) parameter(0)
  %p.1 = f32[256]{0:T(256)S(1)} get-tuple-element(%c), index=0
  %q.1 = f32[1024]{0:T(256)} get-tuple-element(%c), index=1
  %w.1 = f32[64]{0:T(64)} get-tuple-element(%c), index=2
  %f = (f32[64]{0:T(64)S(1)}, f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[1024]{0:T(256)}) fusion(%p.1, %q.1, %w.1), kind=kOutput, output_to_operand_aliasing={{1}: (0, {}), {2}: (1, {}), {3}: (1, {})}, calls=%goes_on
  %p.2 = f32[256]{0:T(256)S(1)} get-tuple-element(%f), index=1
  %q.2 = f32[1024]{0:T(256)} get-tuple-element(%f), index=3
  ROOT %next = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[64]{0:T(64)}) tuple(%p.2, %q.2, %w.1)
}

%condition (c.1: (f32[256], f32[1024], f32[64])) -> pred[] {
  %c.1 = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[64]{0:T(64)}) parameter(0)
  ROOT %more = pred[] constant(true)
}

ENTRY %main (x: f32[256], w.2: f32[64]) -> f32[1024] {
  %x = f32[256]{0:T(256)S(1)} parameter(0)
  %w.2 = f32[64]{0:T(64)} parameter(1)
  %s = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, u32[]{:S(2)}) fusion(%x), kind=kCustom, calls=%begins
  %p.3 = f32[256]{0:T(256)S(1)} get-tuple-element(%s), index=0
  %q.3 = f32[1024]{0:T(256)} get-tuple-element(%s), index=1
  %carried = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[64]{0:T(64)}) tuple(%p.3, %q.3, %w.2)
  %loop = (f32[256]{0:T(256)S(1)}, f32[1024]{0:T(256)}, f32[64]{0:T(64)}) while(%carried), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"3"}}
  %p.4 = f32[256]{0:T(256)S(1)} get-tuple-element(%loop), index=0
  %q.4 = f32[1024]{0:T(256)} get-tuple-element(%loop), index=1
  ROOT %y = f32[1024]{0:T(256)} fusion(%p.4, %q.4), kind=kCustom, output_to_operand_aliasing={{}: (1, {})}, calls=%ends
}
"""  # noqa: E501


def test_a_collective_in_stretches_moves_its_arrays_once():
    # The work of each trip reads 64 numbers of 4 bytes; the 1024 gathered ones are written once. What is gathered lies
    # on the chip, or else its 256 numbers are read once.
    assert hbm_bytes(parse(TPU_STRETCHES)) == 3 * 64 * 4 + 1024 * 4
    in_main_memory = TPU_STRETCHES.replace("f32[256]{0:T(256)S(1)}", "f32[256]{0:T(256)}")
    assert hbm_bytes(parse(in_main_memory)) == 3 * 64 * 4 + 1024 * 4 + 256 * 4


def test_a_scatter_writes_its_rows():
    text = """HloModule m

%adds (t: f32[1000,8], i: s32[10], u: f32[10,8]) -> f32[1000,8] {
  %t = f32[1000,8]{1,0} parameter(0)
  %i = s32[10]{0} parameter(1)
  %u = f32[10,8]{1,0} parameter(2)
  ROOT %added = f32[1000,8]{1,0} scatter(%t, %i, %u), update_window_dims={1}, to_apply=%add
}

ENTRY %main (t.1: f32[1000,8], i.1: s32[10], u.1: f32[10,8]) -> f32[1000,8] {
  %t.1 = f32[1000,8]{1,0} parameter(0)
  %i.1 = s32[10]{0} parameter(1)
  %u.1 = f32[10,8]{1,0} parameter(2)
  ROOT %y = f32[1000,8]{1,0} fusion(%t.1, %i.1, %u.1), kind=kCustom, calls=%adds
}
"""
    assert hbm_bytes(parse(text)) == 10 * 4 + 2 * 10 * 8 * 4  # places and rows are read, rows are written
