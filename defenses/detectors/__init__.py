"""Detectors: models that abstain where a picture looks attacked, calibrated on clean ones only."""
