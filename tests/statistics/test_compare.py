"""Paired comparisons: what they count, and what they refuse to compare."""

import json

import pytest

from robustkit.audit.baseline import compare_with, pack, read_baseline, unpack, write_baseline
from robustkit.audit.compare import compare
from robustkit.errors import UserError
from robustkit.records import AuditLog
from robustkit.report.run_directory import write_run
from tests.report.build_log import build_log, untrusted

THREATS = ("linf:0.1", "l2:1")


def turned(log: AuditLog, threat: str, *, lost: int = 0, gained: int = 0) -> AuditLog:
    """The log with the first `lost` robust samples fooled and the first `gained` fooled robust."""
    left = {"robust": lost, "fooled": gained}
    other = {"robust": "fooled", "fooled": "robust"}
    samples = []
    for one in log.samples:
        if one.threat == threat and left.get(one.outcome, 0):
            left[one.outcome] -= 1
            samples.append(one.model_copy(update={"outcome": other[one.outcome]}))
        else:
            samples.append(one)
    return log.model_copy(update={"samples": tuple(samples)})


def with_attack(log: AuditLog, **changes) -> AuditLog:
    """The log with its first attack changed under every threat."""
    threats = tuple(
        one.model_copy(
            update={"attacks": (one.attacks[0].model_copy(update=changes), *one.attacks[1:])}
        )
        for one in log.threats
    )
    return log.model_copy(update={"threats": threats})


@pytest.fixture(scope="module")
def before() -> AuditLog:
    return build_log(THREATS)


def test_lost_and_gained_are_counted_by_threat_and_class(before):
    first, second = compare(before, turned(before, "linf:0.1", lost=30, gained=10))
    assert (first.lost, first.gained, first.samples) == (30, 10, 500)
    assert first.p == pytest.approx(0.00111, abs=1e-5)
    assert first.significant_drop
    assert first.baseline_accuracy == before.threats[0].robust_accuracy
    assert first.current_accuracy == pytest.approx(first.baseline_accuracy - 20 / 500)
    assert (second.lost, second.gained, second.p, second.significant_drop) == (0, 0, 1.0, False)
    assert sum(row[1] for row in first.by_class) == 500
    assert sum(row[2] for row in first.by_class) == 30
    nets = [up - down for _, _, down, up in first.by_class]
    assert nets == sorted(nets)


def test_regressions_are_named(before):
    kept = [one.id for one in before.samples if one.threat == "l2:1" and one.outcome == "robust"]
    (_, record) = compare(before, turned(before, "l2:1", lost=3))
    assert record.regressions == tuple(kept[:3])


def test_as_many_gained_as_lost_is_no_drop(before):
    (record, _) = compare(before, turned(before, "linf:0.1", lost=12, gained=12))
    assert not record.significant_drop


def test_the_samples_that_both_have_are_compared(before):
    part = before.model_copy(
        update={"samples": tuple(one for one in before.samples if one.index % 2)}
    )
    for pair in ((before, part), (part, before)):
        assert [record.samples for record in compare(*pair)] == [250, 250]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda log: with_attack(log, version=2), "version 2"),
        (lambda log: with_attack(log, name="bim"), "bim"),
        (lambda log: log.model_copy(update={"threats": log.threats[:1]}), "same threats"),
        (
            lambda log: log.model_copy(
                update={"data": log.data.model_copy(update={"sha256": "ef" * 32})}
            ),
            "efefefefefef",
        ),
        (untrusted, "untrusted"),
        (lambda log: log.model_copy(update={"samples": ()}), "none shared"),
    ],
)
def test_what_differs_is_refused_and_named(before, change, said, tmp_path):
    other = change(before)
    with pytest.raises(UserError, match=said):
        compare(before, other)
    write_baseline(before, tmp_path / "baseline.json")
    with pytest.raises(UserError):
        compare_with(tmp_path / "baseline.json", other)


def test_attacks_that_trials_added_do_not_hinder(before):
    bouts = [
        {"threat": one.threat, "attacks": [attack.name for attack in one.attacks]}
        for one in before.threats
    ]
    planned = before.model_copy(update={"plan": {"bouts": bouts}})
    extra = planned.threats[0].attacks[0].model_copy(update={"name": "pgd:loss=margin"})
    threats = tuple(
        one.model_copy(update={"attacks": (*one.attacks, extra)}) for one in planned.threats
    )
    assert len(compare(planned, planned.model_copy(update={"threats": threats}))) == 2


def test_a_baseline_file_compares_as_the_run_it_was_written_from(before, tmp_path):
    after = turned(before, "linf:0.1", lost=30, gained=10)
    write_baseline(before, tmp_path / "baseline.json")
    write_run(before, tmp_path / "run")
    expected = compare(before, after)
    for path in ("baseline.json", "run", "run/audit.json"):
        assert compare_with(tmp_path / path, after) == expected


def test_a_baseline_is_small(tmp_path):
    write_baseline(build_log(("linf:0.1",), n=1000), tmp_path / "baseline.json")
    assert (tmp_path / "baseline.json").stat().st_size < 1500


def test_a_baseline_of_other_samples_is_refused(before, tmp_path):
    write_baseline(before, tmp_path / "baseline.json")
    renamed = tuple(one.model_copy(update={"id": f"x{one.id}"}) for one in before.samples)
    with pytest.raises(UserError, match="same samples"):
        compare_with(tmp_path / "baseline.json", before.model_copy(update={"samples": renamed}))


def test_an_untrusted_log_is_no_baseline(before, tmp_path):
    with pytest.raises(UserError, match="trusted"):
        write_baseline(untrusted(before), tmp_path / "baseline.json")


@pytest.mark.parametrize("damage", ["{", "[]", '{"baseline_version": 2}', "\udcff"])
def test_a_damaged_baseline_is_refused(damage, tmp_path):
    path = tmp_path / "baseline.json"
    path.write_bytes(damage.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="baseline"):
        read_baseline(path)
    with pytest.raises(UserError, match="baseline"):
        read_baseline(tmp_path / "none.json")


def test_a_baseline_with_too_few_bits_is_refused(before, tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(before, path)
    text = json.loads(path.read_text())
    text["threats"]["linf:0.1"]["robust"] = pack([True] * 8)
    path.write_text(json.dumps(text))
    with pytest.raises(UserError, match="8 bits for 500 samples"):
        read_baseline(path)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_bits_survive_packing(n):
    bits = tuple(k % 3 == 0 for k in range(n))
    assert unpack(pack(bits), n) == bits
