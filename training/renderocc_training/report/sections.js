"use strict";
// The parts of the page that show a whole evaluation.
const BASELINE = "what labels by height alone, the same in every frame, can reach in this score on this truth";

function fillResults(report) {
  const many = report.results.length > 1;
  document.getElementById("results").append(...report.results.map((result, place) => element("span", { class: "chip" },
    many ? key(place) : null, element("b", {}, result.name), ` \u2002${result.frames_scored} of ${result.frames_evaluated} frames scored, mask: ${result.mask}`)));
}

// What labels by height alone can reach in a score; results of earlier versions do not say.
function constant(result, field) { return result.scores.best_constant && result.scores.best_constant[field]; }

function fillTiles(report) {
  const voxels = [["mIoU", "miou"], ["IoU above ground", "iou_above_ground"], ["… precision", "precision_above_ground"], ["… recall", "recall_above_ground"],
    ["mIoU, moving classes", "miou_moving"], ["mIoU, static classes", "miou_static"], ["IoU with ground", "iou"]];
  const tiles = [...voxels.map(([words, field]) => [`${words} %`, (r) => percent(r.scores[field]), field]),
    ["calibration error %", (r) => percent(r.calibration.expected_calibration_error)], ["flicker %", (r) => percent(r.scores.flicker)],
    ["RayIoU %", (r) => percent(r.ray_iou && r.ray_iou.ray_iou)],
    ["latency p50 / p95 ms", (r) => r.latency_ms.total ? `${r.latency_ms.total.p50.toFixed(0)} / ${r.latency_ms.total.p95.toFixed(0)}` : "–"]];
  const many = report.results.length > 1;
  for (const [what, value, field] of tiles) {
    const values = report.results.map(value);
    if (values.every((v) => v === "–")) continue;
    const baselines = field ? [...new Set(report.results.map((r) => percent(constant(r, field))))] : [];
    const lead = ["miou", "iou_above_ground"].includes(field);
    document.getElementById("tiles").append(element("div", { class: `tile${lead ? " lead" : ""}${many ? " many" : ""}` },
      element("div", { class: "what" }, what),
      ...values.map((v, place) => element("div", { class: "value" }, many ? key(place) : null, v)),
      field ? element("div", { class: "what", title: BASELINE }, `best constant ${baselines.join(" / ")}`) : null));
  }
}

function body(id) { return document.querySelector(`#${id} .body`); }

function fillClasses(report) {
  const many = report.results.length > 1;
  const top = Math.max(0.01, ...report.results.flatMap((r) => Object.values(r.scores.class_iou)).map((v) => v || 0));
  const rows = report.classes.map((entry) => {
    const values = report.results.map((r) => r.scores.class_iou[entry.name]);
    const colour = `rgb(${entry.colour.join(",")})`;
    return element("tr", {}, element("td", {}, element("span", { class: "swatch", style: `background:${colour}` }), entry.name),
      element("td", { class: "bars" }, ...values.map((v, place) => element("div", { class: "bar", style: `width:${100 * (v || 0) / top}%;background:${many ? SERIES[place] : colour}` }))),
      ...values.map((v) => element("td", { class: "number" }, percent(v))),
      element("td", { class: "number dim" }, percent((constant(report.results[0], "class_iou") || {})[entry.name])),
      many && values.length === 2 ? element("td", { class: "number" }, values.includes(null) ? "–" : `${values[1] >= values[0] ? "+" : "−"}${Math.abs(100 * (values[1] - values[0])).toFixed(1)}`) : null);
  });
  const head = element("tr", {}, element("th", {}, "class"), element("th", {}, "IoU %"),
    ...report.results.map((r, place) => element("th", { class: "number" }, many ? key(place) : "")), element("th", { class: "number", title: BASELINE }, "best constant"), many && report.results.length === 2 ? element("th", { class: "number" }, "Δ") : null);
  body("classes").append(element("table", {}, head, ...rows));
}

function fillConfusion(report) {
  const controls = document.querySelector("#confusion .controls");
  const show = (place) => {
    [...controls.children].forEach((button, i) => button.setAttribute("aria-pressed", i === place));
    const matrix = report.results[place].confusion, names = [...report.classes.map((c) => c.name), "free"];
    const used = names.map((_, i) => i).filter((i) => matrix[i].some((n) => n) || matrix.some((row) => row[i]));
    const head = element("tr", {}, element("th"), ...used.map((i) => element("th", { class: "top" }, element("span", {}, names[i]))));
    const rows = used.map((i) => {
      const total = matrix[i].reduce((a, b) => a + b, 0);
      return element("tr", {}, element("th", {}, names[i]), ...used.map((j) => {
        const share = total ? matrix[i][j] / total : 0;
        const tint = `color-mix(in srgb, ${i === j ? "var(--a)" : "var(--bad)"} ${Math.round(100 * Math.sqrt(share))}%, var(--paper))`;
        return element("td", { style: `background:${tint};color:${share > 0.3 ? "#fff" : "inherit"}`, title: `${names[i]} predicted as ${names[j]}: ${matrix[i][j].toLocaleString()} voxels, ${percent(share)} %` },
          share >= 0.005 ? (100 * share).toFixed(0) : "");
      }));
    });
    body("confusion").replaceChildren(element("div", { class: "matrix" }, element("table", {}, head, ...rows)));
  };
  if (report.results.length > 1)
    report.results.forEach((r, place) => controls.append(element("button", { onclick: () => show(place) }, r.name)));
  show(0);
}

function fillDistance(report) {
  const fields = [["miou", "mIoU"], ["iou_above_ground", "IoU above ground"], ["iou", "IoU with ground"]];
  const controls = document.querySelector("#distance .controls");
  const show = (field) => {
    [...controls.children].forEach((button, i) => button.setAttribute("aria-pressed", fields[i][0] === field));
    const points = (r, value) => r.rings.map((ring) => [(ring.from_m + ring.to_m) / 2, value(ring) ?? null, null, `${ring.from_m}–${ring.to_m} m`]);
    const series = [...report.results.map((r, place) => ({ name: r.name, colour: SERIES[place], points: points(r, (ring) => ring[field]) })),
      { name: "best constant", colour: "var(--dim)", dash: "6 4", points: points(report.results[0], (ring) => ring.best_constant && ring.best_constant[field]) }];
    const top = niceAbove(Math.max(0.05, ...series.flatMap((s) => s.points.map((p) => p[1] || 0))));
    const edges = [...new Set(report.results[0].rings.flatMap((ring) => [ring.from_m, ring.to_m]))];
    body("distance").replaceChildren(lineChart({ series, xLabel: "metres", yLabel: "%", xTop: edges.at(-1), top: Math.min(1, top), xTicks: edges.map((m) => [m, m + ""]), format: (y) => percent(y, top < 0.2 ? 1 : 0) }),
      element("p", { class: "hint" }, "dashed: the best constant of each ring"));
  };
  for (const [field, words] of fields) controls.append(element("button", { onclick: () => show(field) }, words));
  show("miou");
}

function fillCalibration(report) {
  const series = report.results.map((r, place) => {
    const most = Math.max(...r.calibration.voxels, 1);
    return { name: r.name, colour: SERIES[place], points: r.calibration.probability.map((p, i) =>
      [p, r.calibration.voxels[i] ? r.calibration.occupied[i] : null, 2 + 5 * Math.sqrt(r.calibration.voxels[i] / most), `${percent(p, 0)} %, ${r.calibration.voxels[i].toLocaleString()} voxels`]).filter((p) => p[0] !== null) };
  });
  const ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map((v) => [v, percent(v, 0)]);
  body("calibration").append(lineChart({ series, xLabel: "given probability, %", yLabel: "occupied in truth, %", xTop: 1, diagonal: true, xTicks: ticks }));
}

function fillLatency(report) {
  const many = report.results.length > 1;
  const series = report.results.map((r, place) => ({ name: r.name, colour: SERIES[place], values: r.frames.map((f) => f.latency).filter((v) => v !== null) }));
  const stages = [...new Set(report.results.flatMap((r) => Object.keys(r.latency_ms)))];
  const cells = (r, stage) => r.latency_ms[stage] ? [r.latency_ms[stage].p50, r.latency_ms[stage].p95].map((v) => v.toFixed(1)) : ["–", "–"];
  body("latency").append(histogram({ series, xLabel: "milliseconds for a set, reading and decoding included", unit: "ms" }),
    element("table", {}, element("tr", {}, element("th", {}, "stage"), ...report.results.flatMap((_, place) => ["p50 ms", "p95 ms"].map((words) => element("th", { class: "number" }, many ? key(place) : null, words)))),
      ...stages.map((stage) => element("tr", {}, element("td", {}, stage), ...report.results.flatMap((r) => cells(r, stage).map((v) => element("td", { class: "number" }, v)))))));
}

function fillViews(report) {
  if (!report.results.some((r) => r.views)) { document.getElementById("views").remove(); return; }
  const rows = [["depth AbsRel", (v) => v.depth_abs_rel.toFixed(3)], ["depth RMSE, m", (v) => v.depth_rmse_m.toFixed(2)],
    ["depth δ < 1.25, %", (v) => percent(v.depth_delta[0])], ["depth δ < 1.25², %", (v) => percent(v.depth_delta[1])],
    ["depth δ < 1.25³, %", (v) => percent(v.depth_delta[2])], ["semantic mIoU, %", (v) => percent(v.semantic_miou)], ["… of one class for all pixels, at best", (v) => percent(v.best_constant_miou)],
    ["depth pixels", (v) => v.depth_pixels.toLocaleString()], ["class pixels", (v) => v.class_pixels.toLocaleString()]];
  const value = (r, f) => { try { return r.views ? f(r.views) : "–"; } catch { return "–"; } };
  body("views").append(element("table", {}, ...rows.map(([words, f]) => element("tr", {}, element("td", {}, words),
    ...report.results.map((r, place) => element("td", { class: "number" }, report.results.length > 1 ? key(place) : null, value(r, f)))))));
}

function fillSkipped(report) {
  const entries = report.results.flatMap((r, place) => [...r.problems.map((text) => [place, "recording", text, ""]), ...r.skipped.map((s) => [place, s.what, s.why, s.count])]);
  if (!entries.length) { body("skipped").append(element("p", { class: "hint" }, "Nothing was left out.")); return; }
  body("skipped").append(element("table", {}, element("tr", {}, element("th", {}, "what"), element("th", {}, "why"), element("th", { class: "number" }, "count")),
    ...entries.map(([place, what, why, count]) => element("tr", {}, element("td", {}, report.results.length > 1 ? key(place) : null, what), element("td", {}, why), element("td", { class: "number" }, count + "")))));
}

function fillAbout(report) {
  const rows = report.results.flatMap((r, place) => [["result", r.name], ["model", `${r.model.network}${r.model.file ? ", " + r.model.file : ", random weights"}; occupied above ${r.model.threshold}; on ${r.model.device}`],
    ["sha256", r.model.sha256 || "–"], ["recordings", r.recordings.join(", ")], ["rig", `${r.rig}: ${r.cameras.join(", ")}`],
    ...(r.live_agreement ? [["live node and replay", `${r.live_agreement.sets_identical} of ${r.live_agreement.sets} sets identical; ${r.live_agreement.voxels_different.toLocaleString()} of ${r.live_agreement.voxels.toLocaleString()} voxels differ`]] : [])]
    .map(([what, text]) => element("tr", {}, element("td", {}, report.results.length > 1 ? key(place) : null, what), element("td", { style: "overflow-wrap:anywhere" }, text))));
  body("about").append(element("table", {}, ...rows));
}
