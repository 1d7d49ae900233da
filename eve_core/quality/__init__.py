"""Data validation: Great Expectations suites declared as data, run on a prepared folder, reported as JSON and HTML."""

from eve_core.quality.report import ExpectationResult, ValidationReport
from eve_core.quality.validation import measure_drift, validate_data

__all__ = ["ExpectationResult", "ValidationReport", "measure_drift", "validate_data"]
