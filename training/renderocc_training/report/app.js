"use strict";
const report = JSON.parse(document.getElementById("report").textContent);
const colours = report.classes.map((entry) => entry.colour);
const METRICS = [["miou", "mIoU %", 100, false], ["iou_above_ground", "IoU above ground %", 100, false], ["iou", "IoU with ground %", 100, false], ["view_miou", "rendered mIoU %", 100, false],
  ["depth_abs_rel", "depth AbsRel", 1, true], ["flicker", "flicker %", 100, true], ["latency", "latency ms", 1, true]];
const state = { metric: null, frame: 0, images: "image", orbit: { azimuth: 0.35, elevation: 0.6, distance: 1 }, volumes: [] };

function valueOf(place, frame) {
  const entry = report.results[place].frames[frame];
  return entry && entry[state.metric[0]] !== undefined ? entry[state.metric[0]] : null;
}

function shown(value) {
  return value === null ? "–" : (value * state.metric[2]).toFixed(state.metric[2] === 100 ? 1 : state.metric[0] === "latency" ? 0 : 3);
}

function worstFirst() {
  const sign = state.metric[3] ? -1 : 1;
  return report.frames.map((_, i) => [i, valueOf(0, i)]).filter((e) => e[1] !== null).sort((a, b) => sign * (a[1] - b[1]));
}

function drawTimeline() {
  const host = document.getElementById("timeline");
  const canvas = host.firstChild || host.appendChild(element("canvas", { onclick: (event) => {
    const box = canvas.getBoundingClientRect();
    choose(Math.max(0, Math.min(report.frames.length - 1, Math.floor((event.clientX - box.left) / box.width * report.frames.length))));
  } }));
  const ratio = window.devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
  const colour = (place) => style.getPropertyValue(SERIES[place].slice(4, -1));
  canvas.width = canvas.clientWidth * ratio; canvas.height = canvas.clientHeight * ratio;
  const context = canvas.getContext("2d"), count = report.frames.length, width = canvas.width / count;
  const top = Math.max(1e-9, ...report.frames.flatMap((_, i) => report.results.map((_, p) => valueOf(p, i) || 0)));
  context.fillStyle = style.getPropertyValue("--line");
  context.fillRect(state.frame * width, 0, Math.max(width, 2), canvas.height);
  report.results.forEach((_, place) => {
    context.fillStyle = colour(place);
    const share = Math.max(1, (width - Math.min(1.5, width / 4)) / report.results.length);
    for (let i = 0; i < count; i++) {
      const value = valueOf(place, i);
      if (value === null) { context.globalAlpha = 0.25; context.fillRect(i * width + place * share, canvas.height - 3, share, 3); context.globalAlpha = 1; continue; }
      const height = Math.max(2, (canvas.height - 8) * value / top);
      context.fillRect(i * width + place * share, canvas.height - height, share, height);
    }
  });
}

function drawControls() {
  const there = METRICS.filter(([field]) => report.results.some((r) => r.frames.some((f) => f && f[field] !== null && f[field] !== undefined)));
  state.metric ||= there[0];
  document.getElementById("frame-controls").replaceChildren(...there.map((metric) => element("button", { "aria-pressed": metric === state.metric,
    onclick: () => { state.metric = metric; drawControls(); drawTimeline(); } }, metric[1])));
  document.getElementById("worst").replaceChildren(...worstFirst().slice(0, 12).map(([i, value]) =>
    element("button", { onclick: () => choose(i) }, `${shown(value)} · #${i + 1}`)));
}

async function choose(frame) {
  state.frame = frame;
  drawTimeline();
  const text = document.getElementById(`frame-${frame}`);
  const data = JSON.parse(text.textContent);
  const free = report.free;
  const volume = async (packed) => packed ? { labels: await unpacked(packed), size: report.size, ego: report.ego } : null;
  const volumes = [["truth", await volume(data.truth)]];
  for (const [place, packed] of data.labels.entries())
    volumes.push([report.results.length > 1 ? report.results[place].name : "prediction", await volume(packed)]);
  if (frame !== state.frame) return;  // another one was chosen meanwhile
  const mask = data.mask ? { labels: await unpacked(data.mask), size: report.size } : null;
  state.volumes = volumes.filter((entry) => entry[1]);
  const facts = report.results.map((r, place) => {
    const f = r.frames[frame];
    if (!f) return element("div", {}, key(place), "not in this result");
    const scores = METRICS.filter(([field]) => f[field] !== null && f[field] !== undefined)
      .flatMap(([field, words, factor]) => [`${words} `, element("b", {}, (f[field] * factor).toFixed(factor === 100 ? 1 : field === "latency" ? 0 : 3)), "\u2003"]);
    return element("div", {}, report.results.length > 1 ? key(place) : null, ...scores,
      f.missing.length ? `without ${f.missing.join(", ")}\u2003` : null, f.unscored ? `not scored: ${f.unscored}` : null);
  });
  const kinds = [["image", "camera"], ["depth", "rendered depth"], ["classes", "rendered classes"]].filter(([kind]) => Object.keys(data.images).some((n) => (n.split(".")[1] || "image") === kind));
  const cameras = element("div", { class: "cameras" });
  const drawCameras = () => cameras.replaceChildren(...Object.entries(data.images).filter(([name]) => (name.split(".")[1] || "image") === state.images)
    .map(([name, source]) => element("figure", {}, element("img", { src: `data:image/${source.startsWith("iVBOR") ? "png" : "jpeg"};base64,${source}`, alt: name, decoding: "async" }), element("figcaption", {}, name.split(".")[0]))));
  const buttons = element("div", { class: "controls" }, element("button", { onclick: () => choose(Math.max(0, frame - 1)) }, "◀"),
    element("button", { onclick: () => choose(Math.min(report.frames.length - 1, frame + 1)) }, "▶"),
    ...(kinds.length > 1 ? kinds.map(([kind, words]) => element("button", { "aria-pressed": kind === state.images, "data-kind": kind, onclick: (event) => {
      state.images = kind; drawCameras();
      buttons.querySelectorAll("[data-kind]").forEach((b) => b.setAttribute("aria-pressed", b === event.target));
    } }, words)) : []));
  if (!kinds.some(([kind]) => kind === state.images)) state.images = "image";
  drawCameras();
  const above = element("div", { class: "voxels" }), beside = element("div", { class: "voxels" });
  document.getElementById("frame").replaceChildren(
    element("h3", {}, `Frame ${frame + 1} of ${report.frames.length}: ${report.frames[frame].token}`), element("div", { class: "facts" }, ...facts), buttons, cameras,
    element("h3", {}, "From above (forward is up) and in perspective (drag to turn)"), above, beside, legend(state.volumes));
  const shownVolumes = [...state.volumes];
  if (state.volumes.length > 1 && state.volumes[0][0] === "truth")
    for (const [name, predicted] of state.volumes.slice(1)) shownVolumes.push([`errors${report.results.length > 1 ? " of " + name : ""}`, errors(state.volumes[0][1], predicted, mask)]);
  for (const [name, one] of shownVolumes) {
    const palette = one.palette || colours, canvas = element("canvas", { class: "above" });
    above.append(element("figure", {}, canvas, element("figcaption", {}, name)));
    drawAbove(canvas, one, one.free || free, palette);
  }
  const canvases = state.volumes.map(([name, one]) => {
    const canvas = element("canvas", { class: "perspective" });
    beside.append(element("figure", {}, canvas, element("figcaption", {}, name)));
    return [canvas, one];
  });
  const turn = () => canvases.forEach(([canvas, one]) => drawPerspective(canvas, one, free, colours, state.orbit));
  canvases.forEach(([canvas]) => makeTurnable(canvas, turn));
  turn();
  document.body.dataset.ready = frame;
}

// What differs, where truth is known: right, wrong class, missed, invented.
const ERRORS = [["right", [120, 128, 138]], ["wrong class", [245, 196, 66]], ["missed", [64, 132, 255]], ["invented", [235, 70, 80]]];
function errors(truth, predicted, mask) {
  const labels = new Uint8Array(truth.labels.length).fill(ERRORS.length);
  for (let i = 0; i < labels.length; i++) {
    if (mask && !mask.labels[i]) continue;
    const [t, p] = [truth.labels[i], predicted.labels[i]];
    if (t === 255 || (t >= report.free && p >= report.free)) continue;
    if (t === 254) labels[i] = p >= report.free ? 2 : 0; // occupied, of unknown class
    else labels[i] = t === p ? 0 : t >= report.free ? 3 : p >= report.free ? 2 : 1;
  }
  return { labels, size: truth.size, ego: truth.ego, free: ERRORS.length, palette: ERRORS.map((e) => e[1]) };
}

function legend(volumes) {
  const used = new Set();
  for (const [, one] of volumes) for (const label of one.labels) if (label < report.free) used.add(label);
  const entry = (name, colour) => element("span", {}, element("span", { class: "swatch", style: `background:rgb(${colour.join(",")})` }), name);
  const marks = volumes.length > 1 ? ERRORS.map(([name, colour]) => entry(name, colour)) : [];
  return element("div", {}, element("div", { class: "legend" }, ...[...used].sort((a, b) => a - b).map((label) => entry(report.classes[label].name, colours[label]))),
    marks.length ? element("div", { class: "legend" }, "errors: ", ...marks) : null);
}

function makeTurnable(canvas, turn) {
  let last = null, waiting = false;
  canvas.addEventListener("pointerdown", (event) => { last = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { last = null; });
  canvas.addEventListener("pointercancel", () => { last = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    state.orbit.azimuth -= (event.clientX - last[0]) * 0.008;
    state.orbit.elevation = Math.max(0.12, Math.min(1.5, state.orbit.elevation + (event.clientY - last[1]) * 0.006));
    last = [event.clientX, event.clientY];
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; turn(); });
  });
}

function start() {
  fillResults(report); fillTiles(report); drawControls(); fillClasses(report); fillConfusion(report); fillDistance(report);
  fillCalibration(report); fillLatency(report); fillViews(report); fillSkipped(report); fillAbout(report);
  drawTimeline();
  document.body.dataset.shownMs = Math.round(performance.now());
}

start();
addEventListener("DOMContentLoaded", () => {
  document.body.dataset.loadedMs = Math.round(performance.now());
  const wanted = Number(new URLSearchParams(location.hash.slice(1)).get("frame"));
  const worst = worstFirst();
  choose(wanted >= 1 && wanted <= report.frames.length ? wanted - 1 : worst.length ? worst[0][0] : 0);
});
addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) choose(Math.max(0, Math.min(report.frames.length - 1, state.frame + step)));
});
addEventListener("resize", drawTimeline);
