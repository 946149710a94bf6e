"""Traces: whom they show, and that they say what the attack did."""

import torch

import robustkit as rk
from robustkit.audit.tracing import TRACED


def test_traces_show_robust_samples_first_and_say_whom_the_attack_fooled() -> None:
    samples = rk.open_samples("zoo:digits", samples=40)
    log = rk.audit(
        "zoo:digits-adversarial",
        samples,
        "linf:0.15",
        attacks=["pgd:steps=8"],
        trace=True,
        trials=False,
    )
    outcome = {one.id: one.outcome for one in log.samples}
    shown = [outcome[one.id] for one in log.traces]
    assert len(shown) == TRACED
    assert shown == ["robust"] * (TRACED // 2) + ["fooled"] * (TRACED - TRACED // 2)
    model, x = rk.load("zoo:digits-adversarial"), samples.pixels(slice(None))
    for trace in log.traces:
        assert trace.fooled == (outcome[trace.id] == "fooled") == (max(trace.loss) > 0)
        assert len(trace.loss) == len(trace.size) == 9
        assert max(trace.size) <= 0.15 + 1e-6
        assert trace.size[0] > 0  # PGD begins at a random point
        row = samples.ids.index(trace.id)
        with model.frozen(), torch.no_grad():
            logits = model(x[row : row + 1])[0]
        own = float(logits[samples.y[row]])
        rival = max(float(v) for k, v in enumerate(logits) if k != int(samples.y[row]))
        # The margin never starts far from that of the picture itself, and grows from there.
        assert max(trace.loss) > rival - own
