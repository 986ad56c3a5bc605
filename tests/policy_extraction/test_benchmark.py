"""The benchmark of methods gives a number for every method. (How small they are is measured on an idle machine.)"""

import numpy as np

from policy_extraction.benchmark import measure_methods
from policy_extraction.methods import METHODS
from policy_extraction.vla.encoder import VLAConfig
from tests.policy_extraction.examples import SPEC


def test_every_method_is_measured():
    rounds = []
    found = measure_methods(10, 8, VLAConfig(spec=SPEC, width=16, blocks=1), rounds.append)
    assert found.keys() == METHODS.keys() - {"value_gradient"}  # whose cost is that of its world model
    assert rounds == [5, 5]
    assert np.isfinite([row["overhead"] for row in found.values()]).all()
