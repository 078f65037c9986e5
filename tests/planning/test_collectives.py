"""Bytes of collectives in lines written by hand, in every form of groups and of asynchronous halves."""

import pytest

from jaxclip.planning.collectives import KINDS, Traffic, collective_traffic
from jaxclip.planning.hlo import parse

KB = 1024  # of f32[256]


def _traffic(*lines: str, devices: int = 8) -> dict[str, Traffic]:
    body = "\n".join(f"  {line}" for line in ("%x = f32[256]{0} parameter(0)", *lines))
    return collective_traffic(parse(f"HloModule m\n\nENTRY %main (x: f32[256]) -> f32[256] {{\n{body}\n}}\n"), devices)


@pytest.mark.parametrize(
    ("line", "kind", "payload", "sent"),
    [
        ("f32[1024]{0} all-gather(%x), dimensions={0}, replica_groups={{0,1,2,3},{4,5,6,7}}", "all-gather", 4, 3),
        ("f32[64]{0} reduce-scatter(%x), replica_groups=[2,4]<=[8], to_apply=%add", "reduce-scatter", 1, 0.75),
        ("f32[256]{0} all-reduce(%x), replica_groups=[1,8]<=[8], to_apply=%add", "all-reduce", 1, 2 * 7 / 8),
        ("f32[256]{0} all-reduce(%x), replica_groups={}, to_apply=%add", "all-reduce", 1, 2 * 7 / 8),
        ("f32[256]{0} all-to-all(%x), replica_groups=mesh['a'=2,'b'=4] {'b'}, dimensions={0}", "all-to-all", 1, 0.75),
        ("f32[256]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}", "collective-permute", 1, 1),
        ("(f32[256]{0}, f32[1024]{0}) all-gather-start(%x), replica_groups=[2,4]<=[8]", "all-gather", 4, 3),
        ("f32[256]{0} all-reduce-start(%x), replica_groups=[2,4]<=[8], to_apply=%add", "all-reduce", 1, 1.5),
        (
            "(f32[256]{0}, f32[256]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%x), "
            "source_target_pairs={{0,1}}",
            "collective-permute",
            1,
            1,
        ),
    ],
)
def test_bytes_of_one_collective(line, kind, payload, sent):
    found = _traffic(f"ROOT %y = {line}")
    assert found[kind] == Traffic(1, payload * KB, sent * KB)
    assert all(found[other] == Traffic() for other in KINDS if other != kind)


def test_several_arrays_in_one_collective():
    found = _traffic(
        "%h = bf16[100,2]{1,0} parameter(1)",
        "ROOT %y = (f32[256]{0}, bf16[100,2]{1,0}) all-reduce(%x, %h), replica_groups=[4,2]<=[8], to_apply=%add",
    )
    assert found["all-reduce"] == Traffic(1, 1024 + 400, 1024 + 400)


def test_the_second_half_and_groups_of_one_count_nothing():
    found = _traffic(
        "%s = (f32[256]{0}, f32[1024]{0}) all-gather-start(%x), replica_groups=[2,4]<=[8]",
        "%d = f32[1024]{0} all-gather-done(%s)",
        "ROOT %y = f32[256]{0} all-reduce(%x), replica_groups=[8,1]<=[8], to_apply=%add",
    )
    assert found["all-gather"].count == 1
    assert found["all-reduce"] == Traffic()


def test_a_reduce_scatter_that_the_tpu_compiler_fused():
    text = """HloModule m

%all-reduce-scatter.3 (input: f32[256]) -> f32[64] {
  %input = f32[256]{0} parameter(0)
  %sum = f32[256]{0} all-reduce(%input), replica_groups=[2,4]<=[8], to_apply=%add
  %place = s32[] constant(0)
  ROOT %mine = f32[64]{0} dynamic-slice(%sum, %place), dynamic_slice_sizes={64}
}

ENTRY %main (x: f32[256]) -> f32[64] {
  %x = f32[256]{0} parameter(0)
  ROOT %y = f32[64]{0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.3
}
"""
    found = collective_traffic(parse(text), 8)
    assert found["reduce-scatter"] == Traffic(1, KB, 0.75 * KB)
    assert found["all-reduce"] == Traffic()


def test_a_collective_in_stretches_counts_where_it_starts():
    gather = 'all-gather(%p), dimensions={0}, replica_groups=[2,4]<=[8], frontend_attributes={chain_id="0"}'
    text = f"""HloModule m

%first (p: f32[256]) -> f32[1024] {{
  %p = f32[256]{{0}} parameter(0)
  %begun = f32[1024]{{0}} {gather}
  ROOT %start = f32[1024]{{0}} custom-call(%begun), custom_call_target="AsyncCollectiveStart"
}}

%second (p: f32[256]) -> f32[1024] {{
  %p = f32[256]{{0}} parameter(0)
  ROOT %goes_on = f32[1024]{{0}} {gather}
}}

%third (p: f32[256]) -> f32[1024] {{
  %p = f32[256]{{0}} parameter(0)
  %rest = f32[1024]{{0}} {gather}
  ROOT %end = f32[1024]{{0}} custom-call(%rest), custom_call_target="AsyncCollectiveDone"
}}

ENTRY %main (x: f32[256]) -> f32[1024] {{
  %x = f32[256]{{0}} parameter(0)
  %a = f32[1024]{{0}} fusion(%x), kind=kCustom, calls=%first
  %b = f32[1024]{{0}} fusion(%x), kind=kCustom, calls=%second
  ROOT %c = f32[1024]{{0}} fusion(%x), kind=kCustom, calls=%third
}}
"""
    assert collective_traffic(parse(text), 8)["all-gather"] == Traffic(1, 4 * KB, 3 * KB)


def test_collectives_in_a_loop_and_in_an_asynchronous_computation():
    text = """HloModule m

%wrapped (p: f32[256]) -> f32[1024] {
  %p = f32[256]{0} parameter(0)
  ROOT %gathered = f32[1024]{0} all-gather(%p), dimensions={0}, replica_groups=[2,4]<=[8]
}

%body (c: (s32[], f32[256])) -> (s32[], f32[256]) {
  %c = (s32[], f32[256]{0}) parameter(0)
  %i = s32[] get-tuple-element(%c), index=0
  %v = f32[256]{0} get-tuple-element(%c), index=1
  %s = ((f32[256]{0}), f32[1024]{0}, u32[]) async-start(%v), calls=%wrapped
  %d = f32[1024]{0} async-done(%s), calls=%wrapped
  ROOT %t = (s32[], f32[256]{0}) tuple(%i, %v)
}

%condition (c.1: (s32[], f32[256])) -> pred[] {
  %c.1 = (s32[], f32[256]{0}) parameter(0)
  ROOT %more = pred[] constant(true)
}

ENTRY %main (x: (s32[], f32[256])) -> (s32[], f32[256]) {
  %x = (s32[], f32[256]{0}) parameter(0)
  ROOT %y = (s32[], f32[256]{0}) while(%x), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
}
"""  # noqa: E501
    assert collective_traffic(parse(text), 8)["all-gather"] == Traffic(5, 5 * 4 * KB, 5 * 3 * KB)
