"""The restricted unpickler: known attacks are refused by name, torch's own pickles come through."""

import builtins
import collections
import os
import pickle
import struct
import subprocess

import ml_dtypes
import numpy as np
import pytest

from jaxclip.weights.tensors import WeightsError
from jaxclip.weights.torch_pickle import ScriptedModule, Storage, StridedTensor, load_pickle


class Call:
    """Pickles as a call of a function: the classical attack."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class WithState:
    def __setstate__(self, state):
        raise AssertionError("an attack came through")


ATTACKS = {
    "os.system": (Call(os.system, "touch /tmp/owned"), r"(posix|nt)\.system"),
    "eval": (Call(eval, "1 + 1"), r"builtins\.eval"),
    "exec": (Call(exec, "import os"), r"builtins\.exec"),
    "getattr": (Call(getattr, "text", "upper"), r"builtins\.getattr"),
    "import": (Call(builtins.__import__, "os"), r"builtins\.__import__"),
    "subprocess": (Call(subprocess.Popen, ["true"]), r"(subprocess|commands)\.Popen"),
    "nested reduce": (
        {"weight": [Call(dict, [("key", Call(os.system, "true"))])]},
        r"(posix|nt)\.system|builtins\.dict",
    ),
    "reduce within an admitted call": (
        Call(collections.OrderedDict, [("key", Call(os.getcwd))]),
        r"(posix|nt)\.getcwd",
    ),
    "setstate": (WithState(), r"WithState|copy_?reg\._reconstructor"),
    "pickle within a pickle": (Call(pickle.loads, b"cos\nsystem\n."), r"_?pickle\.loads"),
    "numpy": (np.zeros(3), r"numpy\..*_reconstruct"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_by_the_name_of_the_global(attack, protocol):
    payload, name = ATTACKS[attack]
    with pytest.raises(WeightsError, match=rf"model\.pt: the pickle names the global '.*({name})', which could run"):
        load_pickle(pickle.dumps(payload, protocol), "model.pt")


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"(S'true'\nios\nsystem\n.",  # the INST opcode
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"ctorch.serialization\nload\n.",
        b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n.",
        b"ctorch\nload\n.",
        b"ccollections\nnamedtuple\n.",
        b"c__torch__evil\nModule\n.",
    ],
)
def test_hand_written_globals_are_refused(data):
    with pytest.raises(WeightsError, match="the pickle names the global"):
        load_pickle(data, "model.pt")


TENSOR_CLASS = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor_pickle(offset=b"K\x00", shape=b"(K\x02K\x03t", strides=b"(K\x03K\x01t", kind=b"FloatStorage", size=b"K\x06"):
    """The pickle that torch.save writes for one tensor, with parts to damage."""
    storage = b"(X\x07\x00\x00\x00storagectorch\n" + kind + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + size + b"tQ"
    return (
        b"\x80\x02" + TENSOR_CLASS + b"(" + storage + offset + shape + strides + b"\x89ccollections\nOrderedDict\n)RtR."
    )


def test_a_tensor_of_torch():
    found = load_pickle(tensor_pickle(), "model.pt")
    assert found == StridedTensor(Storage("0", np.dtype("float32"), 6), 0, (2, 3), (3, 1))
    half = load_pickle(tensor_pickle(kind=b"BFloat16Storage"), "model.pt")
    assert half.storage.dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    "damage",
    [
        {"offset": b"J\xff\xff\xff\xff"},  # -1
        {"strides": b"(J\xff\xff\xff\xffK\x01t"},
        {"shape": b"(J\xff\xff\xff\xffK\x01t"},
        {"shape": b"(K\x02t"},
        {"shape": b"X\x01\x00\x00\x00a"},
        {"offset": b"G?\xf0\x00\x00\x00\x00\x00\x00"},  # 1.0
        {"size": b"J\xff\xff\xff\xff"},
        {"size": b"N"},
    ],
)
def test_tensors_of_impossible_form_are_refused(damage):
    with pytest.raises(WeightsError, match=r"model\.pt: not a readable pickle"):
        load_pickle(tensor_pickle(**damage), "model.pt")


def test_unknown_storage_is_refused_by_name():
    with pytest.raises(WeightsError, match=r"torch\.ComplexFloatStorage"):
        load_pickle(tensor_pickle(kind=b"ComplexFloatStorage"), "model.pt")


def test_a_checked_tensor_cannot_be_changed_afterwards():
    # BUILD writes into the attributes of whatever is on the stack.
    data = tensor_pickle()[:-1] + b"}X\x06\x00\x00\x00offsetJ\xff\xff\xff\xffsb."
    with pytest.raises(WeightsError, match="not a readable pickle"):
        load_pickle(data, "model.pt")
    data = b"\x80\x02ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeK\x01sb."
    with pytest.raises(WeightsError, match="not a readable pickle"):
        load_pickle(data, "model.pt")


def test_scripted_modules_keep_their_members_only():
    data = (
        b"\x80\x02c__torch__.clip.model\nCLIP\n)\x81}(X\x05\x00\x00\x00scaleK\x07X\x0c\x00\x00\x00__setstate__K\x01ub."
    )
    module = load_pickle(data, "model.pt")
    assert isinstance(module, ScriptedModule) and module.members == {"scale": 7, "__setstate__": 1}
    with pytest.raises(WeightsError, match="not a readable pickle"):
        load_pickle(b"\x80\x02c__torch__\nCLIP\n)\x81K\x01b.", "model.pt")


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02Nr" + struct.pack("<I", 2**31) + b".",  # a memo of 2 billion entries
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",  # a bytearray of 1 TB
        b"\x80\x02" + b"\x8a\xff",
        b"",
        b"\x80",
        b"\x80\x02}",
        b"not a pickle",
    ],
)
def test_absurd_and_truncated_pickles_are_refused(data):
    with pytest.raises(WeightsError, match=r"model\.pt: not a readable pickle"):
        load_pickle(data, "model.pt")


@pytest.mark.parametrize("length", range(2, len(tensor_pickle()), 7))
def test_every_cut_of_a_pickle_is_refused(length):
    with pytest.raises(WeightsError, match=r"model\.pt"):
        load_pickle(tensor_pickle()[:length], "model.pt")


def test_plain_values_come_through():
    values = {
        "epoch": 3,
        "name": "run",
        "loss": 0.5,
        "steps": [1, (2, None), True],
        "order": collections.OrderedDict(a=1),
    }
    assert load_pickle(pickle.dumps(values, 2), "model.pt") == values
