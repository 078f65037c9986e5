"""`.pt` archives: what torch writes is read back to the bit, damaged and forged ones are refused with one error."""

import pickle
import zipfile

import numpy as np
import pytest
from test_torch_pickle import tensor_pickle

from jaxclip.weights.tensors import WeightsError
from jaxclip.weights.torch_archive import read_torch


def write_archive(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


NUMBERS = np.arange(6, dtype=np.float32).tobytes()


def one_tensor(data=NUMBERS, **damage):
    """Entries of an archive whose state dict has the one key `weight`."""
    wrapped = b"\x80\x02}X\x06\x00\x00\x00weight" + tensor_pickle(**damage)[2:-1] + b"s."
    return {"model/data.pkl": wrapped, "model/byteorder": b"little", "model/data/0": data, "model/version": b"3\n"}


def test_hand_written_archive(tmp_path):
    file = read_torch(write_archive(tmp_path / "a.pt", one_tensor()))
    assert not file.scripted and list(file.tensors) == ["weight"]
    tensor = file.tensors["weight"]
    assert tensor.shape == (2, 3) and tensor.dtype == np.float32 and tensor.nbytes == 24
    np.testing.assert_array_equal(np.asarray(tensor), [[0, 1, 2], [3, 4, 5]])
    assert np.asarray(tensor, np.float64).dtype == np.float64


def test_offsets_and_strides(tmp_path):
    transposed = one_tensor(shape=b"(K\x02K\x02t", strides=b"(K\x01K\x03t", offset=b"K\x01")
    tensor = read_torch(write_archive(tmp_path / "a.pt", transposed)).tensors["weight"]
    np.testing.assert_array_equal(np.asarray(tensor), [[1, 4], [2, 5]])


def test_what_torch_saves(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "float32": base,
        "float16": base.half(),
        "bfloat16": base.bfloat16(),
        "int64": base.long(),
        "bool": base > 3,
        "shared": base[1:3, ::2],
        "transposed": base.T,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base),
    }
    for content in (tensors, {"epoch": 1, "state_dict": {f"module.{name}": value for name, value in tensors.items()}}):
        torch.save(content, tmp_path / "a.pt")
        found = read_torch(tmp_path / "a.pt").tensors
        assert set(found) == set(tensors)
        for name, tensor in tensors.items():
            array = np.asarray(found[name])
            assert array.shape == tuple(tensor.shape) and str(tensor.dtype) == f"torch.{array.dtype.name}"
            np.testing.assert_array_equal(array.astype(np.float64), tensor.detach().double().numpy())


def test_what_a_training_run_saves_beside_its_weights_is_passed_over(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    content = {"epoch": 3, "name": "run", "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(content | {"scaler": {"scale": 65536.0, "growth_interval": 2000}}, tmp_path / "epoch_3.pt")
    found = read_torch(tmp_path / "epoch_3.pt").tensors
    assert set(found) == {"weight", "bias"}
    np.testing.assert_array_equal(np.asarray(found["weight"]), model.weight.detach().numpy())


DAMAGED = {
    "beyond the storage": (one_tensor(shape=b"(K\x03K\x03t"), "'weight': shape \\(3, 3\\).*beyond its storage of 6"),
    "offset beyond": (one_tensor(offset=b"K\x01"), "beyond its storage of 6"),
    "repeated numbers": (one_tensor(shape=b"(J\x00\x00\x00\x7fK\x03t", strides=b"(K\x00K\x00t"), "beyond its storage"),
    "short storage": (one_tensor(data=bytes(20)), "'model/data/0' has 20 bytes, expected 6 × float32"),
    "long storage": (one_tensor(data=bytes(28)), "has 28 bytes"),
    "absurd storage": (one_tensor(size=b"J\xff\xff\xff\x7f"), "has 24 bytes, expected 2147483647 × float32"),
    "big-endian": (one_tensor() | {"model/byteorder": b"big"}, "big-endian"),
    "outside": (one_tensor() | {"../evil": b""}, "entry '../evil' leads out"),
    "outside later": (one_tensor() | {"model/../../evil": b""}, "leads out"),
    "absolute": (one_tensor() | {"/etc/passwd": b""}, "leads out"),
    "another root": (one_tensor() | {"other/data/0": b""}, "leads out"),
    "no pickle": ({"model/data/0": b""}, r"found 0 entries \*/data.pkl"),
    "two pickles": (one_tensor() | {"other/data.pkl": b"N."}, r"found 2 entries \*/data.pkl"),
    "a number": ({"model/data.pkl": pickle.dumps(3)}, "found a int, expected a state dict"),
    "no tensor": ({"model/data.pkl": pickle.dumps({"weight": [1]})}, "key 'weight': found a list, expected a tensor"),
    "no name": ({"model/data.pkl": pickle.dumps({3: 4})}, "key 3: found a int"),
    "no storage": ({"model/data.pkl": one_tensor()["model/data.pkl"]}, "its storage 'model/data/0' is missing"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_archives_are_refused(damage, tmp_path):
    entries, message = DAMAGED[damage]
    with pytest.raises(WeightsError, match=message) as error:
        read_torch(write_archive(tmp_path / "damaged.pt", entries))
    assert str(tmp_path / "damaged.pt") in str(error.value)


def test_compressed_entries_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="compressed or encrypted"):
        read_torch(write_archive(tmp_path / "a.pt", one_tensor(), zipfile.ZIP_DEFLATED))


def test_duplicate_entries_are_refused(tmp_path):
    path = write_archive(tmp_path / "a.pt", one_tensor())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("model/data/0", b"")
    with pytest.raises(WeightsError, match="expected distinct names"):
        read_torch(path)


def test_a_claim_of_more_bytes_than_there_are_is_refused(tmp_path):
    path = write_archive(tmp_path / "a.pt", one_tensor())
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1) + 1)  # of model/data/0
    data[entry + 20 : entry + 28] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="claim more bytes than the file has"):
        read_torch(path)


def test_flipped_bits_in_a_tensor_are_noticed(tmp_path):
    path = write_archive(tmp_path / "a.pt", one_tensor())
    data = bytearray(path.read_bytes())
    data[data.index(NUMBERS) + 5] ^= 1
    path.write_bytes(data)
    tensor = read_torch(path).tensors["weight"]
    with pytest.raises(WeightsError, match="entry 'model/data/0' is damaged.*CRC"):
        np.asarray(tensor)


def test_truncated_files_are_refused(tmp_path):
    whole = write_archive(tmp_path / "a.pt", one_tensor()).read_bytes()
    for length in range(0, len(whole), 23):
        (tmp_path / "a.pt").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="a.pt: found neither a zip archive nor a pickle"):
            read_torch(tmp_path / "a.pt")


def test_bare_pickles_are_refused_attacks_first(tmp_path):
    (tmp_path / "a.pt").write_bytes(pickle.dumps({"weight": 1}, 2))
    with pytest.raises(WeightsError, match="before 1.6"):
        read_torch(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(b"\x80\x02cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match=r"a\.pt: the pickle names the global 'os\.system'"):
        read_torch(tmp_path / "a.pt")


def test_an_attack_in_an_archive_is_refused_by_name(tmp_path):
    entries = one_tensor() | {"model/data.pkl": b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR."}
    with pytest.raises(WeightsError, match=r"a\.pt: data\.pkl: the pickle names the global 'builtins\.eval'"):
        read_torch(write_archive(tmp_path / "a.pt", entries))


def test_modules_without_end_are_refused(tmp_path):
    # A module that is its own member.
    data = b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb."
    with pytest.raises(WeightsError, match="modules without end at 'a.a.a"):
        read_torch(write_archive(tmp_path / "a.pt", {"model/data.pkl": data}))


def test_a_whole_model_is_refused_by_its_class(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"'torch\.nn\.modules\.linear\.Linear'"):
        read_torch(tmp_path / "a.pt")
