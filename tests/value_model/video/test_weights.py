"""Weights read from their file into modules that are made without any."""

import jax
import numpy as np
import pytest
from flax import nnx

from envs.errors import UserError
from envs.files import save_arrays
from value_model.video.tokenizer import Tokenizer, TokenizerConfig
from value_model.video.weights import blank, fill_arrays, flat_arrays

SMALL = TokenizerConfig(width=8)


def test_models_read_from_two_files_are_two(tmp_path):
    """Shapes are traced once; what is read into one model is not read into the others."""
    made = [Tokenizer(SMALL, rngs=nnx.Rngs(seed)) for seed in range(2)]
    read = []
    for number, tokenizer in enumerate(made):
        file = tmp_path / f"{number}.safetensors"
        save_arrays(file, {k: np.asarray(v) for k, v in flat_arrays({"tokenizer": tokenizer}).items()})
        read.append(blank(Tokenizer, SMALL))
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(nnx.state(read[-1])))
        fill_arrays({"tokenizer": read[-1]}, file)
    for one, other in zip(made, read, strict=True):
        for name, array in flat_arrays({"tokenizer": one}).items():
            np.testing.assert_array_equal(array, flat_arrays({"tokenizer": other})[name], err_msg=name)
    wider = blank(Tokenizer, TokenizerConfig(width=16))
    with pytest.raises(UserError, match=r"does not fit its own config\.json"):
        fill_arrays({"tokenizer": wider}, tmp_path / "0.safetensors")
