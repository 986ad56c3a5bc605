"use strict";
// An episode's film strip and value curve: drawn when they come into sight, with one cursor through both.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function canvas(name) {
  const made = document.createElement("canvas");
  made.className = name;
  return made;
}

function pen(target) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = target;
  target.width = Math.round(width * scale);
  target.height = Math.round(height * scale);
  const context = target.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

class Film {
  // data: what `Quality.json` says of an episode; on: {move(film, frame), toggle(film, lapse), ready(film)}
  constructor(data, on) {
    this.data = data;
    this.on = on;
    this.frame = 0;
    this.camera = 0;
    this.picture = null;
    this.element = document.createElement("div");
    this.element.className = "film";
    this.strip = canvas("strip");
    this.curve = canvas("curve");
    this.cursor = document.createElement("div");
    this.cursor.className = "cursor";
    this.cursor.hidden = true;
    this.label = document.createElement("span");
    this.cursor.append(this.label);
    this.element.append(this.strip, this.curve, this.cursor);
    this.element.addEventListener("pointermove", (event) => on.move(this, this.frameAt(event)));
    this.element.addEventListener("click", (event) => {
      const frame = this.frameAt(event);
      const lapse = data.lapses.findIndex((one) => one.start <= frame && frame <= one.end);
      if (lapse >= 0 && event.target === this.curve) on.toggle(this, lapse);
    });
  }

  frameAt(event) {
    const box = this.element.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    return Math.min(Math.floor(share * this.data.frames), this.data.frames - 1);
  }

  // The share of the width at which a frame begins.
  place(frame) { return frame / this.data.frames; }

  show() {
    if (this.picture || !this.data.sheet) return this.draw();
    this.picture = new Image();
    this.picture.onload = () => { this.draw(); this.on.ready(this); };
    this.picture.src = this.data.sheet.uri;
  }

  hide() {
    this.picture = null;
    this.strip.width = this.strip.height = this.curve.width = this.curve.height = 0;
  }

  draw() {
    this.drawStrip();
    this.drawCurve();
  }

  // Where the tile of a frame lies in the picture of all tiles: [x, y, width, height].
  tile(camera, frame) {
    const { frames, cameras } = this.data.sheet;
    let best = 0;
    frames.forEach((one, row) => { if (Math.abs(one - frame) < Math.abs(frames[best] - frame)) best = row; });
    const above = cameras.slice(0, camera).reduce((sum, one) => sum + one.height, 0);
    const { width, height } = cameras[camera];
    return [best * width, above, width, height];
  }

  drawStrip() {
    const { context, width, height } = pen(this.strip);
    if (!this.picture || !this.picture.naturalWidth) return;
    const camera = Math.min(this.camera, this.data.sheet.cameras.length - 1);
    const one = this.data.sheet.cameras[camera];
    const count = Math.max(1, Math.round(width / (height * one.width / one.height + 2)));
    const slot = width / count;
    for (let place = 0; place < count; place += 1) {
      const from = this.tile(camera, ((place + 0.5) / count) * this.data.frames);
      context.drawImage(this.picture, ...from, place * slot + 1, 0, slot - 2, height);
    }
  }

  drawCurve() {
    const { context, width, height } = pen(this.curve);
    const { data } = this;
    const [top, bottom] = [6, height - 6];
    const y = (value) => bottom - value * (bottom - top);
    for (const [number, lapse] of data.lapses.entries()) {
      const left = this.place(lapse.start) * width;
      const wide = this.place(lapse.end + 1) * width - left;
      context.fillStyle = colour(lapse.kind);
      context.fillRect(left, 0, wide, height);
      if (data.cut.has(number)) this.hatch(context, left, wide, height);
    }
    context.strokeStyle = colour("line");
    context.lineWidth = 1;
    for (const value of [0, 0.5, 1]) {
      context.beginPath();
      context.moveTo(0, y(value));
      context.lineTo(width, y(value));
      context.stroke();
    }
    context.fillStyle = colour("marked");
    for (const part of data.marked) {
      const left = this.place(part.start) * width;
      context.fillRect(left, height - 4, this.place(part.end + 1) * width - left, 4);
    }
    context.strokeStyle = colour("value");
    context.lineWidth = 1.8;
    context.lineJoin = "round";
    context.beginPath();
    let pencil = false;
    data.values.forEach((value, place) => {
      if (value === null) { pencil = false; return; }
      const x = this.place(place * data.every + 0.5) * width;
      if (pencil) context.lineTo(x, y(value / 1000));
      else context.moveTo(x, y(value / 1000));
      pencil = true;
    });
    context.stroke();
  }

  hatch(context, left, wide, height) {
    context.save();
    context.beginPath();
    context.rect(left, 0, wide, height);
    context.clip();
    context.strokeStyle = colour("muted");
    for (let x = left - height; x < left + wide; x += 7) {
      context.beginPath();
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
      context.stroke();
    }
    context.restore();
  }

  // The value at a frame, null where it is unknown.
  value(frame) {
    const found = this.data.values[Math.floor(frame / this.data.every)];
    return found === null || found === undefined ? null : found / 1000;
  }

  moveTo(frame) {
    this.frame = Math.min(Math.max(frame, 0), this.data.frames - 1);
    const share = this.place(this.frame + 0.5);
    const value = this.value(this.frame);
    this.cursor.hidden = false;
    this.cursor.style.left = `${100 * share}%`;
    this.cursor.classList.toggle("late", share > 0.8);
    const seconds = (this.frame / this.data.fps).toFixed(1);
    this.label.textContent = `${seconds} s · ${value === null ? "unknown" : value.toFixed(2)}`;
  }
}
