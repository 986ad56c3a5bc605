"""Does an environment keep the contract of `envs.contract`? What is wrong is said in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from envs.contract import ChunkEnvs, Start
from envs.errors import UserError

MOST_CHUNKS = 1000  # until an episode must have ended
NESTED = ("images", "seen")  # parts of an observation that are mappings themselves
NAMES = ("env_spec", "num_envs", "execute", "closed", "reset", "step", "close")


def check_envs(envs: ChunkEnvs, seed: int = 0) -> None:
    """Try an environment: spaces, resets of some rows, seeds, chunks, films and ends. It is left open, its episodes over.

    Raises:
        UserError: the first thing that is wrong, and what it should be.
    """
    missing = [name for name in NAMES if not hasattr(envs, name)]
    _require(not missing, f"it has no {', '.join(missing)}; see envs.contract.ChunkEnvs")
    mode = envs.metadata.get("autoreset_mode") if hasattr(envs, "metadata") else AutoresetMode.DISABLED
    _require(
        mode == AutoresetMode.DISABLED, f"its autoreset mode is {mode}; it must be AutoresetMode.DISABLED"
    )
    rows = envs.num_envs
    everyone = np.ones(rows, bool)
    first, info = _reset(envs, seed, everyone, film=1)
    _check_film(envs, info, everyone, "reset")
    _require((np.asarray(info["film"]["step"])[:, 0] == 0).all(), "a film begins with step 0, after reset")
    again, _ = _reset(envs, seed, everyone, film=1)
    _require(_equal(first, again, everyone), "two resets with the same seeds show different things")
    _, ends, before = _play(envs, seed, again)
    _check_rest(envs, before, ends)
    if rows > 1:
        _check_mask(envs, seed)


def _reset(envs: ChunkEnvs, seed: int, mask: np.ndarray, film: int) -> tuple[dict[str, Any], dict[str, Any]]:
    rows = envs.num_envs
    seeds = [seed + row for row in range(rows)]
    options: dict[str, Any] = {"reset_mask": mask.copy(), "film": np.full(rows, film)}
    if envs.env_spec.any_start:
        options["starts"] = [Start(number) for number in seeds]
    observation, info = envs.reset(seed=seeds, options=options)
    _check_observation(envs, observation, "reset")
    return observation, info


def _play(envs: ChunkEnvs, seed: int, observation: dict[str, Any]) -> tuple[int, np.ndarray, dict[str, Any]]:
    """Random chunks until every episode has ended: how many, how each ended [N, 2], and what was seen last."""
    random, rows, steps = np.random.default_rng(seed), envs.num_envs, envs.execute
    done, over, length = np.zeros((rows, 2), bool), np.zeros(rows, bool), np.zeros(rows, int)
    for number in range(MOST_CHUNKS):
        chunk = random.uniform(-1.5, 1.5, (rows, steps, envs.env_spec.action_dim)).astype(np.float32)
        observation, reward, terminated, truncated, info = envs.step(chunk)
        _check_observation(envs, observation, "step")
        executed = np.asarray(info["executed"])
        _require((executed[over] == 0).all(), "a row whose episode is over executes actions; it must wait")
        _require(
            ((executed[~over] >= 1) & (executed[~over] <= steps)).all(),
            f"executed is {executed.tolist()}; each row executes 1 to {steps} actions of a chunk",
        )
        rewards = np.asarray(info["rewards"])
        _require(rewards.shape == (rows, steps), f"rewards have shape {rewards.shape}; give {(rows, steps)}")
        _require(bool(np.isfinite(rewards).all()), "a reward is not finite")
        _require(np.allclose(rewards.sum(1), reward, atol=1e-4), "the reward is not the sum of `rewards`")
        length += executed
        ended = np.asarray(terminated) | np.asarray(truncated)
        _require(
            bool((ended | (executed == steps))[~over].all()),
            "a chunk stopped early although its episode goes on",
        )
        _check_film(envs, info, ~over, "step")
        for row in np.flatnonzero(ended & ~over).tolist():
            last = int(info["film"]["step"][row, info["film"]["count"][row] - 1])
            _require(
                last == length[row], "the film of an episode must end with what it showed after its last step"
            )
        done |= np.stack([terminated, truncated], axis=1) & ~over[:, None]
        over |= ended
        if over.all():
            _require(
                (length <= envs.env_spec.horizon).all(),
                f"an episode went on for {length.max()} control steps, beyond its horizon of {envs.env_spec.horizon}",
            )
            return number + 1, done, observation
    raise UserError(f"no end: an episode goes on after {MOST_CHUNKS} chunks; it must end at env_spec.horizon")


def _check_rest(envs: ChunkEnvs, before: dict[str, Any], ends: np.ndarray) -> None:
    """Over is over, until the next reset."""
    chunk = np.zeros((envs.num_envs, envs.execute, envs.env_spec.action_dim), np.float32)
    after, reward, terminated, truncated, info = envs.step(chunk)
    everyone = np.ones(envs.num_envs, bool)
    quiet = not np.any(reward) and not np.any(info["executed"]) and _equal(before, after, everyone)
    _require(
        quiet, "a row whose episode is over must do nothing and show its last observation until it is reset"
    )
    same = (np.stack([terminated, truncated], axis=1) == ends).all()
    _require(bool(same), "a row whose episode is over must go on saying how it ended")


def _check_mask(envs: ChunkEnvs, seed: int) -> None:
    """A reset of one row leaves the others where they are."""
    everyone = np.ones(envs.num_envs, bool)
    _reset(envs, seed, everyone, film=0)
    chunk = np.ones((envs.num_envs, envs.execute, envs.env_spec.action_dim), np.float32)
    before, *_ = envs.step(chunk)
    one = np.arange(envs.num_envs) == 0
    after, _ = _reset(envs, seed, one, film=0)
    _require(_equal(before, after, ~one), "a reset of row 0 alone (options['reset_mask']) changed other rows")
    whole, _ = _reset(envs, seed, everyone, film=0)
    _require(_equal(after, whole, one), "row 0 begins differently when it is reset alone")


def _check_observation(envs: ChunkEnvs, observation: dict[str, Any], when: str) -> None:
    wanted, flat = _flat(envs.env_spec.observation_space.spaces), _flat(observation)
    _require(
        flat.keys() == wanted.keys(),
        f"{when} gives the parts {sorted(flat)}; env_spec says {sorted(wanted)}",
    )
    for name, space in wanted.items():
        shape, value = (envs.num_envs, *(space.shape or ())), np.asarray(flat[name])
        _require(
            value.shape == shape and value.dtype == space.dtype,
            f"{when} gives {name} as {value.dtype} {list(value.shape)}; env_spec says {space.dtype} {list(shape)}",
        )
        _require(
            value.dtype == np.uint8 or bool(np.isfinite(value).all()), f"{name} after {when} is not finite"
        )


def _flat(parts: Mapping[str, Any]) -> dict[str, Any]:
    """An observation's or a space's parts, by dotted names."""
    flat: dict[str, Any] = {}
    for name, part in parts.items():
        flat |= {f"{name}.{one}": value for one, value in part.items()} if name in NESTED else {name: part}
    return flat


def _check_film(envs: ChunkEnvs, info: dict[str, Any], rows: np.ndarray, when: str) -> None:
    if not envs.env_spec.cameras or not rows.any():
        return
    there = np.asarray(info.get("_film", np.zeros(envs.num_envs, bool)))
    _require(bool(there[rows].all()), f"a film of every control step was asked for, and {when} gave none")
    count = np.asarray(info["film"]["count"])[rows]
    shown = -(-np.asarray(info["executed"])[rows] // envs.env_spec.stride)
    wanted = np.ones(rows.sum(), int) if when == "reset" else shown
    _require(
        (count == wanted).all(),
        f"{when} filmed {count.tolist()} moments where {wanted.tolist()} were to be filmed",
    )


def _equal(one: Mapping[str, Any], other: Mapping[str, Any], rows: np.ndarray) -> bool:
    return all(
        _equal(value, other[name], rows)
        if isinstance(value, Mapping)
        else np.array_equal(np.asarray(value)[rows], np.asarray(other[name])[rows])
        for name, value in one.items()
    )


def _require(condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise UserError(f"this is no ChunkEnvs: {message}")
