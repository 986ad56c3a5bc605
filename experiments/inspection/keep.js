"use strict";
// What is kept, by the rule of `experiments.inspection.keep.Keep` or by hand, and how it is said to other tools.

function takes(rule, data) {
  return !(
    (data.final !== null && data.final < rule.final)
    || (rule.lapses >= 0 && data.lapses.length > rule.lapses)
    || (rule.stall > 0 && data.stall > rule.stall)
    || (data.success === false && !rule.failures)
  );
}

function segments(data) {
  const found = [];
  let first = 0;
  data.lapses.forEach((lapse, number) => {
    if (!data.cut.has(number)) return;
    found.push({ episode: data.number, start: first, end: lapse.start - 1 });
    first = lapse.end + 1;
  });
  found.push({ episode: data.number, start: first, end: data.frames - 1 });
  return found.filter((part) => part.start <= part.end);
}

function kept(about, all) {
  const sorted = [...all].sort((one, other) => one.number - other.number);
  const exclude = sorted.filter((data) => !data.keep).map((data) => data.number);
  const words = ([before, after], joint) => (exclude.length ? before + exclude.join(joint) + after : "");
  return {
    data_set: about.data_set,
    keep: sorted.filter((data) => data.keep).map((data) => data.number),
    exclude,
    segments: sorted.filter((data) => data.keep).flatMap(segments),
    "data.exclude": words(about.commands.ours, ","),
    "lerobot-edit-dataset": words(about.commands.lerobot, ", "),
  };
}

function exportKept(about, all) {
  const text = `${JSON.stringify(kept(about, all), null, 1)}\n`;
  const found = JSON.parse(text);
  const whole = "every episode is kept";
  document.getElementById("ours").textContent = found["data.exclude"] || whole;
  document.getElementById("lerobot").textContent = found["lerobot-edit-dataset"] || whole;
  document.getElementById("json").value = text;
  document.getElementById("exported").showModal();
}

function download() {
  const link = document.createElement("a");
  link.download = "keep.json";
  link.href = URL.createObjectURL(new Blob([document.getElementById("json").value], { type: "application/json" }));
  link.click();
  URL.revokeObjectURL(link.href);
}

function copy() {
  const text = document.getElementById("json");
  text.select();
  if (navigator.clipboard) navigator.clipboard.writeText(text.value);
  else document.execCommand("copy");
}
