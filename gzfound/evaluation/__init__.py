"""Evaluation: probes, metrics with intervals, the noise floor and baselines."""

from __future__ import annotations

from gzfound.evaluation.baselines import constant_fractions, pixel_pca
from gzfound.evaluation.benchmark import ProbeResults, probe_table
from gzfound.evaluation.bootstrap import Interval, bootstrap_rows, interval, resampled_sums
from gzfound.evaluation.calibration import calibration, coverage_at_levels, reliability
from gzfound.evaluation.label_efficiency import LabelEfficiency, label_efficiency
from gzfound.evaluation.metrics import AnswerErrors, coverage, per_answer_errors, skill
from gzfound.evaluation.morphology import fill_failed, measure_morphology
from gzfound.evaluation.noise_floor import NoiseFloor, known_noise_floor, noise_floor
from gzfound.evaluation.predictions import evaluate_predictions
from gzfound.evaluation.probes import LinearProbe, fit_linear_probe
from gzfound.evaluation.scores import Scores, score_fractions
from gzfound.evaluation.table import ResultTable, Row
from gzfound.evaluation.target_benchmark import TargetResults, cross_validation, target_table
from gzfound.evaluation.targets import fit_class_probe, fit_number_probe

__all__ = [
    "AnswerErrors",
    "Interval",
    "LabelEfficiency",
    "LinearProbe",
    "NoiseFloor",
    "ProbeResults",
    "ResultTable",
    "Row",
    "Scores",
    "TargetResults",
    "bootstrap_rows",
    "calibration",
    "constant_fractions",
    "coverage",
    "coverage_at_levels",
    "cross_validation",
    "evaluate_predictions",
    "fill_failed",
    "fit_class_probe",
    "fit_linear_probe",
    "fit_number_probe",
    "interval",
    "known_noise_floor",
    "label_efficiency",
    "measure_morphology",
    "noise_floor",
    "per_answer_errors",
    "pixel_pca",
    "probe_table",
    "reliability",
    "resampled_sums",
    "score_fractions",
    "skill",
    "target_table",
]
