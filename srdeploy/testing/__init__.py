"""Contracts: what every row of a table must do, as tests that a plug-in's tests make their own.

Import a suite's class and its fixtures into a test module, and subclass the class:

* :mod:`srdeploy.testing.devices`: kinds of devices,
* :mod:`srdeploy.testing.methods`: pruning methods,
* :mod:`srdeploy.testing.runtimes`: runtimes of ONNX files,
* :mod:`srdeploy.testing.targets`: export targets.

For architectures, call :func:`srdeploy.testing.architectures.check_architecture`; for calibration
methods, :func:`srdeploy.testing.calibration.check_calibration_method`; for metrics,
:func:`srdeploy.testing.metrics.check_metric`.

They need pytest: ``pip install 'srdeploy[testing]'``.
"""

import pytest

_SUITES = ("architectures", "calibration", "devices", "methods", "metrics", "runtimes", "targets")

pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in _SUITES))
