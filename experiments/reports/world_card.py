"""MODEL_CARD.md of a world model: what it is, what it was trained on, how good it is, what it is not for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.lab.artifacts import canonical
from experiments.lab.provenance import made_by
from experiments.reports.run_report import table
from experiments.stages.data import Data
from experiments.stages.eyes import EyesQuality
from experiments.stages.world_quality import Quality
from policy_extraction.types import Eyes
from value_model.imagination.config import ImaginationConfig

CARD = "MODEL_CARD.md"
EYES_TITLE = "## What a policy sees in it"
CRITIC_TITLE = "## What it says of progress"
COMMAND = "python -m experiments.train_world_model"
_HOW = {
    "regression": "Regression of the change, one pass a step",
    "flow": "Flow matching with diffusion forcing, keys and values of the frames so far kept",
}
DEMONSTRATED = (
    "scripted demonstrations of every style, failures among them, and the base policy's own attempts at "
    "temperatures "
)
RECORDED = "recordings, of which those that measure were kept from it"


def errors_table(found: Mapping[str, Mapping[int, float]]) -> str:
    """A row a figure, a column a number of steps."""
    columns = list(found["clips"])
    rows = [[name, *(f"{row[count]:.3g}" for count in columns)] for name, row in found.items()]
    return table(["error after steps of the world", *map(str, columns)], rows)


def world_card(
    model: ImaginationConfig,
    of: Sequence[str],
    data: str,
    held_out: int,
    found: Quality,
    made: tuple[str, float],
    settings: Any,
) -> str:
    """The card of a world model.

    Args:
        of: what it imagines; data: what was learnt from, in words; held_out: episodes that measured it.
        made: the command's words, and the seconds of training; settings: all of them.
    """
    rate = model.control_rate / model.stride
    refined = model.refine.steps
    drawn = f", frames drawn from the means in {refined} of a flow's steps" if refined else ""
    felt = " and\nproprioception" if model.proprio_dim else ""
    parts = "\n\n".join(
        f"`{name}` ([pictures]({name}.png): real above, imagined below)\n\n{errors_table(one)}"
        for name, one in found.items()
    )
    return f"""# World model of {", ".join(of)}

A first picture of {", ".join(model.cameras)}, an instruction and actions in; latents of the next pictures{felt} out,
{rate:g} a second. {_HOW[model.dynamics]}{drawn} (`value_model/imagination/`).

**Made by** `{COMMAND} {made[0]}` in {made[1]:.0f} s; all settings are below.

**Data.** {data}.

**Held-out episodes** ({held_out}) under their own actions, by steps of the world ({model.stride} control steps
each). `latent`: root of the mean square, beside copying the first frame and acting on another clip's actions; `pixel`
and `moved`: mean difference of 255, of all pixels and of those that moved, `seen`: of the tokenizer alone; `hand_cm`: of
the hand; `felt`: of all numbers of proprioception, root of the mean square in units of their deviation; `object_cm`: of the
task's object, as a probe reads it off imagined latents, `seen`: off recorded ones.

{parts}

**Not for** other cameras, robots or tasks without training on them. It is optimistic about grasps: check what succeeds in
it where that can be checked.

```json
{json.dumps({**canonical(settings), "made_by": made_by()}, indent=1)}
```
"""


def critic_card(figures: str) -> str:
    """How good the critic is that shares the weights; figures: a table of them."""
    return f"""{CRITIC_TITLE}

A critic on the same blocks (`critic.json`, `critic.safetensors`; `critic=wvm critic.path=` this folder): a value stream
beside that of the dynamics. On the held-out episodes:

{figures}
"""


def eyes_card(
    eyes: Eyes, data: Sequence[Data], found: EyesQuality, words: str, settings: Mapping[str, Any]
) -> str:
    """What eyes were distilled, from what, and how true they are."""
    return f"""{EYES_TITLE}

What the frozen eyes `{eyes.digest}` ({eyes.size} numbers of {", ".join(eyes.cameras)}) would see, distilled from latents
and proprioception (`eyes.safetensors`), so that their policy needs no decoded pictures.

**Made by** `{COMMAND} {words}` from {size_of(data)}.

Root of the mean square error on held-out episodes, in units of the deviation of what they see, by steps of the world.
`distilled` and `decoded`: of imagined frames, beside the real picture of that moment; `recorded`: distilled from the
recorded frame's latents; `copy`: what was seen at first.

{errors_table(found)}

```json
{json.dumps({**settings, "made_by": made_by()}, indent=1)}
```
"""


def without_eyes(folder: Path) -> str:
    """The card of a finished world model, without what it says of eyes."""
    file = folder / CARD
    return file.read_text().partition(EYES_TITLE)[0].rstrip("\n") + "\n" if file.is_file() else ""


def size_of(data: Sequence[Data]) -> str:
    """How much data, in words."""
    stores = [part.open() for part in data]
    return f"{sum(map(len, stores))} episodes, {sum(store.total_frames for store in stores):,} frames"
