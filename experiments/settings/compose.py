"""From the words of a command line to a checked configuration: Hydra composes, mistakes become readable."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from envs.errors import UserError
from experiments.settings.chosen import Chosen
from experiments.settings.plugins import is_reference

KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "a text"}


def store(group: str | None, name: str, schema: Any) -> None:
    """Put a dataclass (a class, or an instance for other defaults) into Hydra's store as a choice of `group`.

    OmegaConf makes the node of a frozen dataclass read-only; it is opened, for overrides to change it. A method's field
    `seed` becomes the run's, unless the command line sets it.
    """
    try:
        node = OmegaConf.structured(schema)
    except OmegaConfBaseException as error:
        raise UserError(
            f"{group}={name}: the fields must be plain (numbers, texts, lists): {_first_line(error)}"
        ) from error
    _open(node)
    if group == "method" and "seed" in node:
        node["seed"] = "${seed}"
    ConfigStore.instance().store(group=group, name=name, node=node)


def store_command(name: str, schema: type, defaults: Sequence[dict[str, str | None]] = ()) -> None:
    """Store a command's configuration: its schema, and its groups' default choices."""
    store(None, f"{name}_schema", schema)
    ConfigStore.instance().store(name=name, node={"defaults": [f"{name}_schema", *defaults, "_self_"]})


def choices(group: str) -> list[str]:
    """The choices of a group that have a name of their own."""
    names = ConfigStore.instance().list(group)
    return sorted(
        n.removesuffix(".yaml")
        for n in names
        if n.endswith(".yaml") and not is_reference(n.removesuffix(".yaml"))
    )


def expand(arguments: Sequence[str]) -> list[list[str]]:
    """All combinations of a sweep: `["method=bc,awr", "seed=0,1"]` gives four lists of simple overrides."""
    alternatives = []
    for override in parse(arguments):
        if override.is_sweep_override():
            key = override.get_key_element()
            alternatives.append([f"{key}={value}" for value in sweep_values(override)])
        else:
            alternatives.append([override.input_line or ""])
    return [list(combination) for combination in itertools.product(*alternatives)]


def sweep_values(override: Override) -> list[str]:
    """The values of a sweep as texts; Hydra escapes the colon of `package.module:name`, which is undone."""
    texts = [(text, text.replace("\\:", ":")) for text in override.sweep_string_iterator()]
    return [plain if is_reference(plain) else text for text, plain in texts]


def composed(command: str, overrides: Sequence[str]) -> Any:
    """The configuration object of a command under simple overrides; see `choose`."""
    return choose(command, overrides).config


def choose(command: str, overrides: Sequence[str]) -> Chosen:
    """The configuration object of a command under simple overrides, with the names of its choices.

    Raises:
        UserError: as `composition`, or a dataclass refuses its fields.
    """
    settings = composition(command, overrides, keep_hydra=True)
    names = chosen_names(settings.hydra.runtime.choices)
    with open_dict(settings):
        del settings["hydra"]
    config = to_object(settings)
    if not any(override.startswith("seed=") for override in overrides):
        return Chosen(config, names, config)
    schema: Any = OmegaConf.get_type(settings)
    settings["seed"] = schema.seed
    return Chosen(config, names, to_object(settings))


def composition(command: str, overrides: Sequence[str], keep_hydra: bool = False) -> DictConfig:
    """The settings of a command under simple overrides; with `keep_hydra` Hydra's own beside them.

    Raises:
        UserError: an override names an unknown setting or choice, has a wrong type, or cannot be read.
    """
    parsed = parse(overrides)
    groups = [item for item in parsed if _is_group(item.key_or_group)]
    for override in groups:
        _check_choice(override)
    for override in parsed:
        if override.key_or_group.split(".")[0] == "hydra":
            _check_key(command, override, set())  # Hydra's own settings are none of the command's
    try:
        return _compose(command, overrides, keep_hydra)
    except UserError:
        base = _compose(command, [item.input_line or "" for item in groups])
    known = set(_flat_keys(base))
    lines = []
    for override in parsed:
        line = override.input_line or ""
        if override not in groups and _is_entry(override.key_or_group, base):
            line = f"++{line}"
        elif override not in groups:
            _check_key(command, override, known)
        lines.append(line)
    return _compose(command, lines, keep_hydra)


def chosen_names(choices: Mapping[str, str]) -> dict[str, str]:
    """Hydra's record of the choices, {group: name}, without its own groups."""
    return {group: str(name) for group, name in choices.items() if not group.startswith("hydra/")}


def to_object(config: DictConfig) -> Any:
    """The dataclass instances that a composed configuration stands for; lists become tuples.

    Raises:
        UserError: a value is missing, or a dataclass refuses its fields.
    """
    try:
        return _built(config)
    except UserError:
        raise
    except (ValueError, OmegaConfBaseException) as error:
        raise UserError(_first_line(error)) from error


def _built(node: Any) -> Any:
    """Like `OmegaConf.to_object`, which gives lists to fields that are tuples."""
    if isinstance(node, ListConfig):
        return tuple(_built(item) for item in node)
    if not isinstance(node, DictConfig):
        return node
    items = {str(key): _built(node[key]) for key in node}
    schema: Any = OmegaConf.get_type(node)
    return items if schema is dict else schema(**items)


def _open(node: DictConfig) -> None:
    OmegaConf.set_readonly(node, False)
    if OmegaConf.get_type(node) is dict:
        OmegaConf.set_struct(node, False)  # its keys are the user's
    for key in node:
        if not OmegaConf.is_missing(node, key) and isinstance(node[key], DictConfig):
            _open(node[key])


def parse(arguments: Iterable[str]) -> list[Override]:
    """The overrides of a command line.

    Raises:
        UserError: one cannot be read, or adds or removes a setting.
    """
    parsed = []
    for argument in arguments:
        try:
            [override] = OverridesParser.create().parse_overrides([argument])
        except OverrideParseException as error:
            if "=" not in argument:
                raise UserError(
                    f"{argument!r} is not a setting; write key=value, for instance seed=3"
                ) from error
            raise UserError(
                f"{argument!r} cannot be read as key=value: {_first_line(error)}; quote special characters"
            ) from error
        if override.is_delete():
            raise UserError(f"{argument!r}: settings cannot be removed, only changed (key=value)")
        if override.is_add() or override.is_force_add():
            raise UserError(f"{argument!r}: settings cannot be added, only changed (key=value, without +)")
        parsed.append(override)
    return parsed


def _is_group(key: str) -> bool:
    return ConfigStore.instance().get_type(key) == ObjectType.GROUP


def _is_entry(key: str, config: DictConfig) -> bool:
    """Whether a key names an entry of a setting that is a table, whose entries are the user's to name."""
    table, _, entry = key.rpartition(".")
    if not table or not entry:
        return False
    node = OmegaConf.select(config, table, throw_on_missing=False)
    return isinstance(node, DictConfig) and OmegaConf.get_type(node) is dict


def _check_choice(override: Override) -> None:
    group, value = override.key_or_group, str(override.value())
    if is_reference(value) or value in choices(group):
        return
    raise UserError(
        f"unknown {group} {value!r}{_nearest(value, choices(group))} Choices: {', '.join(choices(group))}"
    )


def _check_key(command: str, override: Override, known: set[str]) -> None:
    key = override.key_or_group
    if key not in known:
        raise UserError(
            f"unknown setting {key!r}{_nearest(key, known)} The same command with --cfg job lists them all"
        )


def _nearest(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean '…'?` for the nearest candidate, by the whole and by the part after the last dot."""
    candidates = sorted(candidates)
    near = get_close_matches(word, candidates, n=1)
    if not near:
        tails = {candidate.rsplit(".", 1)[-1]: candidate for candidate in reversed(candidates)}
        near = [tails[tail] for tail in get_close_matches(word.rsplit(".", 1)[-1], tails, n=1)]
    return f"; did you mean {near[0]!r}?" if near else "."


def _flat_keys(config: DictConfig, prefix: str = "") -> Iterable[str]:
    for key in config:
        name = f"{prefix}{key}"
        yield name
        if not OmegaConf.is_missing(config, key) and isinstance(config[key], DictConfig):
            yield from _flat_keys(config[key], f"{name}.")


def _compose(command: str, overrides: Sequence[str], keep_hydra: bool = False) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_module("experiments.settings", version_base=None):
        try:
            return compose(command, overrides=list(overrides), return_hydra_config=keep_hydra)
        except ConfigCompositionException as error:
            raise UserError(_wrong_value(error)) from error
        except HydraException as error:
            raise UserError(_first_line(error)) from error


def _wrong_value(error: ConfigCompositionException) -> str:
    """One line for a value of the wrong type, or Hydra's own first line."""
    cause = str(error.__cause__ or "")
    override = re.search(r"Error merging override (.*)", str(error))
    wanted = re.search(r"could not be converted to (\w+)", cause)
    if override and wanted:
        return f"{override[1]}: the value must be {KINDS.get(wanted[1], wanted[1])}"
    if override and "is not a subclass" in cause:
        group = override[1].split("=")[0]
        return f"{override[1]}: these are several settings; change one of them, {group}.<name>=…"
    if override:
        return f"{override[1]}: {_first_line(cause)}"
    return _first_line(error)


def _first_line(error: object) -> str:
    return str(error).strip().splitlines()[0]
