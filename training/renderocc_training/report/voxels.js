"use strict";
// Voxels on a canvas, from above and in perspective. A volume is {labels, size: [X, Y, Z]}, z fastest.
// A free voxel has a label of at least `free`; colours are [[r, g, b], …] by label.

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function drawAbove(canvas, volume, free, colours) {
  const [X, Y, Z] = volume.size;
  canvas.width = Y; canvas.height = X;
  canvas.style.setProperty("--aspect", `${Y} / ${X}`);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(Y, X);
  const highest = new Int16Array(X * Y).fill(-1);
  for (let column = 0; column < X * Y; column++)
    for (let z = Z - 1; z >= 0; z--)
      if (volume.labels[column * Z + z] < free) { highest[column] = z; break; }
  for (let x = 0; x < X; x++) for (let y = 0; y < Y; y++) {
    const column = x * Y + y, z = highest[column];
    const at = 4 * ((X - 1 - x) * Y + (Y - 1 - y));  // forward is up, left is left
    let colour = [26, 29, 33], shade = 1;
    if (z >= 0) {
      colour = colours[volume.labels[column * Z + z]];
      // Lit from the front left: what stands higher than its neighbour there is brighter.
      const neighbour = x + 1 < X && y + 1 < Y ? highest[column + Y + 1] : z;
      shade = 0.74 + 0.2 * z / Z + 0.07 * Math.max(-2, Math.min(2, z - neighbour));
    }
    for (let c = 0; c < 3; c++) picture.data[at + c] = Math.min(255, colour[c] * shade);
    picture.data[at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  context.fillStyle = "#fff"; context.strokeStyle = "#000"; context.lineWidth = Math.max(1, X / 200);
  const [cx, cy, s] = [Y - volume.ego[1], X - volume.ego[0], X / 60];
  context.beginPath(); context.moveTo(cx, cy - 1.6 * s); context.lineTo(cx + s, cy + s); context.lineTo(cx, cy + 0.5 * s);
  context.lineTo(cx - s, cy + s); context.closePath(); context.fill(); context.stroke();
}

// The faces of cells that touch a free cell, by direction: [+x, -x, +y, -y, +z, -z] as bits.
function exposedFaces(volume, free) {
  if (volume.faces) return volume.faces;
  const [X, Y, Z] = volume.size, labels = volume.labels, faces = new Uint8Array(labels.length);
  const steps = [[Y * Z, 0, X - 1], [-Y * Z, 0, 0], [Z, 1, Y - 1], [-Z, 1, 0], [1, 2, Z - 1], [-1, 2, 0]];
  const at = [0, 0, 0];
  for (at[0] = 0; at[0] < X; at[0]++) for (at[1] = 0; at[1] < Y; at[1]++) for (at[2] = 0; at[2] < Z; at[2]++) {
    const i = (at[0] * Y + at[1]) * Z + at[2];
    if (labels[i] >= free) continue;
    for (let d = 0; d < 6; d++) {
      const [step, axis, edge] = steps[d];
      if (at[axis] === edge || labels[i + step] >= free) faces[i] |= 1 << d;
    }
  }
  return volume.faces = faces;
}

const CORNERS = [[[1,0,0],[1,1,0],[1,1,1],[1,0,1]], [[0,0,0],[0,0,1],[0,1,1],[0,1,0]],
  [[0,1,0],[0,1,1],[1,1,1],[1,1,0]], [[0,0,0],[1,0,0],[1,0,1],[0,0,1]],
  [[0,0,1],[1,0,1],[1,1,1],[0,1,1]], [[0,0,0],[0,1,0],[1,1,0],[1,0,0]]];
const SHADES = [0.8, 0.72, 0.62, 0.68, 1, 0.45];

// Painter's order needs no sorting in a grid: on each axis, from both ends towards the camera's own cell.
function farToNear(count, eye) {
  const order = [], split = Math.max(0, Math.min(count, Math.ceil(eye)));
  for (let i = 0; i < split; i++) order.push(i);
  for (let i = count - 1; i >= split; i--) order.push(i);
  return order;
}

function drawPerspective(canvas, volume, free, colours, orbit) {
  const [X, Y, Z] = volume.size, reach = Math.max(X, Y);
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const width = canvas.width = Math.round((canvas.clientWidth || 480) * ratio);
  const height = canvas.height = Math.round(width * 0.62);
  const context = canvas.getContext("2d");
  context.fillStyle = "#dde1e7"; context.fillRect(0, 0, width, height);
  const target = [X / 2, Y / 2, Z * 0.25], distance = 1.0 * reach * orbit.distance;
  const [ca, sa, ce, se] = [Math.cos(orbit.azimuth), Math.sin(orbit.azimuth), Math.cos(orbit.elevation), Math.sin(orbit.elevation)];
  const eye = [target[0] - distance * ca * ce, target[1] - distance * sa * ce, target[2] + distance * se];
  const forward = [ca * ce, sa * ce, -se], right = [sa, -ca, 0];
  const up = [ca * se, sa * se, ce], focal = 1.0 * width;
  const project = (x, y, z) => {
    const [dx, dy, dz] = [x - eye[0], y - eye[1], z - eye[2]];
    const depth = dx * forward[0] + dy * forward[1] + dz * forward[2];
    if (depth < 1) return null;
    return [width / 2 + focal * (dx * right[0] + dy * right[1]) / depth,
      height / 2 - focal * (dx * up[0] + dy * up[1] + dz * up[2]) / depth];
  };
  const faces = exposedFaces(volume, free), labels = volume.labels;
  let current = null;
  const order = [farToNear(X, eye[0]), farToNear(Y, eye[1]), farToNear(Z, eye[2])];
  context.beginPath();
  for (const x of order[0]) for (const y of order[1]) for (const z of order[2]) {
    const i = (x * Y + y) * Z + z, open = faces[i];
    if (!open) continue;
    const visible = [eye[0] > x + 1, eye[0] < x, eye[1] > y + 1, eye[1] < y, eye[2] > z + 1, eye[2] < z];
    const colour = colours[labels[i]], height_shade = 0.82 + 0.18 * z / Z;
    for (let d = 0; d < 6; d++) {
      if (!visible[d] || !(open >> d & 1)) continue;
      const corners = CORNERS[d].map((c) => project(x + c[0], y + c[1], z + c[2]));
      if (corners.includes(null)) continue;
      const shade = SHADES[d] * height_shade;
      const style = `rgb(${colour[0] * shade | 0},${colour[1] * shade | 0},${colour[2] * shade | 0})`;
      if (style !== current) {  // neighbours of one colour are filled in one go
        if (current !== null) { context.fillStyle = context.strokeStyle = current; context.fill(); context.stroke(); }
        context.beginPath(); current = style; context.lineWidth = 0.6;
      }
      context.moveTo(corners[0][0], corners[0][1]);
      for (let c = 1; c < 4; c++) context.lineTo(corners[c][0], corners[c][1]);
      context.closePath();
    }
  }
  if (current !== null) { context.fillStyle = context.strokeStyle = current; context.fill(); context.stroke(); }
}
