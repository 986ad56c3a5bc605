"""The contract of environments: kept by ours and by any Gymnasium environment, and told where it is broken."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from envs.check import check_envs
from envs.errors import UserError
from envs.gymnasium_world import gymnasium_envs, gymnasium_spec
from envs.robosuite.vector import RobosuiteScene, robosuite_envs
from envs.rollout import RolloutPool


class Reach(gymnasium.Env):
    """A point on a line that has to come near a goal; unusual spaces on purpose."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    instruction = "go to the goal"

    def __init__(self, success=True, render_mode=None):
        self.success, self.render_mode = success, render_mode
        self.observation_space = Dict(
            {
                "front": Box(0, 255, (6, 8, 3), np.uint8),
                "arm": Dict({"place": Box(-9.0, 9.0, (1,)), "touch": Box(0, 1, (2, 1), np.int8)}),
                "environment_state": Box(-9.0, 9.0, (1,), np.float64),
            }
        )
        self.action_space = Box(np.array([0.0, -3.0]), np.array([2.0, 3.0]), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-4, 4, 2)
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place += (action[0] - 1.0) * 0.5
        near = bool(abs(self.place - self.goal) < 0.5)
        info = {"is_success": near} if self.success else {}
        return self._observe(), -abs(self.place - self.goal), near, False, info

    def _observe(self):
        front = np.full((6, 8, 3), int(20 * (self.place + 9) / 2), np.uint8)
        arm = {"place": np.array([self.place], np.float32), "touch": np.zeros((2, 1), np.int8)}
        return {"front": front, "arm": arm, "environment_state": np.array([self.goal])}

    def render(self):
        return np.zeros((4, 4, 3), np.uint8)


class Seeker:
    """Goes where the goal is said to be: it peeks at what `act` is not given through a known gain."""

    def act(self, observation, seeds):
        chunk = np.zeros((len(seeds), 3, 2), np.float32)
        chunk[:, :, 0] = np.where(observation.proprio[:, :1] > 0, -1, 1)
        return chunk


@pytest.fixture(scope="module")
def reach():
    spec = gymnasium_spec(Reach, horizon=12)
    envs = gymnasium_envs(Reach, spec, 2, 3)
    yield envs
    envs.close()


def test_robosuite_keeps_the_contract():
    envs = robosuite_envs(RobosuiteScene("lift", horizon=12), 2, 5)
    check_envs(envs)
    envs.close()


def test_a_gymnasium_environment_is_read(reach):
    spec = reach.env_spec
    assert dict(spec.cameras) == {"front": (6, 8)} and (spec.proprio_dim, spec.state_dim) == (3, 1)
    assert spec.action_low == (0.0, -3.0) and spec.action_high == (2.0, 3.0)
    assert (spec.control_rate, spec.horizon, spec.instruction) == (10.0, 12, "go to the goal")
    check_envs(reach)


def test_what_a_gymnasium_environment_did(reach):
    first, second = RolloutPool(reach).rollout(Seeker(), [0, 0], record=True, film=1)
    assert first.reward == second.reward and (first.repeat, second.repeat) == (0, 1)
    film = first.recording.film
    places, goal = film.proprio[:, 0], film.environment_state[0, 0]
    steps = np.where(places[:-1][::3].repeat(3)[: first.length] > 0, -0.5, 0.5)  # -1 stands for 0, 1 for 2
    np.testing.assert_allclose(np.diff(places), steps, atol=1e-6)
    np.testing.assert_allclose(first.recording.rewards, -np.abs(places[1:] - goal), atol=1e-6)
    assert first.success == bool(abs(places[-1] - goal) < 0.5)
    assert first.episode(reach.env_spec, "reach", "point").images["front"].shape == (first.length, 6, 8, 3)


def test_success_is_unknown_where_it_is_not_said():
    def silent():
        return Reach(success=False)

    envs = gymnasium_envs(silent, gymnasium_spec(silent, horizon=4), 1, 2)
    (one,) = RolloutPool(envs).rollout(Seeker(), [0])
    assert one.success is None and one.length <= 4 and np.isfinite(one.reward)
    envs.close()


def test_registered_environments_and_rendering():
    def pendulum():
        return gymnasium.make("Pendulum-v1")

    spec = gymnasium_spec(pendulum, "swing it up")
    assert (spec.horizon, spec.proprio_dim, spec.action_low, dict(spec.cameras)) == (200, 3, (-2.0,), {})
    drawn = gymnasium_spec(lambda: Reach(render_mode="rgb_array"), render=True, horizon=4)
    assert dict(drawn.cameras) == {"front": (6, 8), "render": (4, 4)}


class Numbered(Reach):
    def __init__(self):
        super().__init__()
        self.action_space = Discrete(3)


class Sorted(Reach):
    def __init__(self):
        super().__init__()
        self.observation_space = Dict({"kind": Discrete(2)})

    def _observe(self):
        return {"kind": 0}


@pytest.mark.parametrize(
    ("factory", "settings", "words"),
    [
        (Numbered, {"horizon": 4}, "actions are Discrete"),
        (Sorted, {"horizon": 4}, "observation 'kind' is of the kind Discrete"),
        (Reach, {}, "does not say its horizon; set it, for instance env.horizon=200"),
        (lambda: gymnasium.make("Pendulum-v1"), {}, "does not say its instruction"),
    ],
)
def test_what_cannot_be_read_is_said(factory, settings, words):
    with pytest.raises(UserError, match=words):
        gymnasium_spec(factory, **settings)


class Broken:
    """Passes everything on to a good environment but for one thing."""

    def __init__(self, good, **changes):
        self._good, self._changes = good, changes
        for name in ("env_spec", "num_envs", "execute", "closed", "metadata", "close"):
            setattr(self, name, getattr(good, name))  # Python 3.12 knows a protocol by what is there itself

    def reset(self, *, seed=None, options=None):
        found = self._good.reset(seed=seed, options=options)
        return self._changes.get("reset", lambda *x: x)(*found)

    def step(self, actions):
        found = self._good.step(actions)
        return self._changes.get("step", lambda *x: x)(*found)


def no_terminal(observation, reward, terminated, truncated, info):
    if "film" in info:
        ended = (terminated | truncated) & (info["executed"] > 0)
        info["film"]["count"][ended] -= 1
    return observation, reward, terminated, truncated, info


def forgetful(observation, reward, terminated, truncated, info):
    return observation, reward, terminated & (info["executed"] > 0), truncated & (info["executed"] > 0), info


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": no_terminal}, "filmed"),
        ({"step": forgetful}, "go on saying how it ended"),
        ({"step": lambda o, r, a, b, i: (o, r + 1, a, b, i)}, "not the sum"),
        ({"reset": lambda o, i: ({**o, "proprio": o["proprio"].astype(float)}, i)}, "proprio as float64"),
        ({"reset": lambda o, i: ({"proprio": o["proprio"]}, i)}, "gives the parts"),
    ],
)
def test_what_is_broken_is_said(reach, changes, words):
    with pytest.raises(UserError, match=words):
        check_envs(Broken(reach, **changes))
