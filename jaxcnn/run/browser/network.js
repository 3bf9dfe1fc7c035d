// The browser answers: onnxruntime-web runs network.onnx, which lies beside the page.
const session = (async () => {
  if (typeof ort === "undefined") throw Error("onnxruntime-web is missing: copy its ort.wasm.min.js, "
    + "ort-wasm-simd-threaded.mjs and ort-wasm-simd-threaded.wasm beside this page.");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL(".", location.href).href;
  return ort.InferenceSession.create("network.onnx");
})();
session.catch(() => {}); // the first answer shows it

// Which part of a picture is shown where, as `shown` of jaxcnn.data.fit: [source, target] as (top, left, bottom, right).
function shown(height, width, high, wide, fit) {
  let source = [0, 0, height, width], target = [0, 0, high, wide];
  if (fit === "crop") {
    const tall = width / height < wide / high ? width * high / wide : height;
    const broad = width / height < wide / high ? width : wide / high * height;
    source = [(height - tall) / 2, (width - broad) / 2, (height + tall) / 2, (width + broad) / 2];
  } else if (fit === "pad") {
    const h = Math.max(1, width / height > wide / high ? Math.round(height / width * wide) : high);
    const w = Math.max(1, width / height < wide / high ? Math.round(width / height * high) : wide);
    const [top, left] = [Math.round((high - h) / 2), Math.round((wide - w) / 2)];
    target = [top, left, top + h, left + w];
  }
  return [source, target];
}

// What each of `size` new pixels is made of, where from .. to of `length` pixels become `size`, as Pillow's bilinear filter:
// [first pixel, shares], a triangle as wide as the pixels that are merged.
function weights(length, from, to, size) {
  const scale = (to - from) / size, reach = Math.max(1, scale);
  return Array.from({ length: size }, (_, place) => {
    const centre = from + (place + 0.5) * scale;
    const [first, end] = [Math.max(0, Math.floor(centre - reach + 0.5)), Math.min(length, Math.floor(centre + reach + 0.5))];
    const all = Array.from({ length: end - first }, (_, n) => Math.max(0, 1 - Math.abs(first + n - centre + 0.5) / reach));
    const total = all.reduce((a, b) => a + b, 0);
    return [first, all.map(each => each / total)];
  });
}

// RGBA pixels of a picture -> uint8 (high, wide, channels), as jaxcnn decodes it.
function fitted(data, height, width, [high, wide, channels], fit) {
  const [[top, left, bottom, right], [t, l, b, r]] = shown(height, width, high, wide, fit);
  const [rows, columns] = [weights(height, top, bottom, b - t), weights(width, left, right, r - l)];
  const grey = (at) => (data[at] * 19595 + data[at + 1] * 38470 + data[at + 2] * 7471 + 32768) >> 16; // Pillow's L
  const made = new Uint8Array(high * wide * channels);
  for (let c = 0; c < channels; c++) {
    const narrow = new Uint8Array(height * columns.length);
    for (let y = 0; y < height; y++) columns.forEach(([first, parts], x) => {
      let sum = 0;
      parts.forEach((part, n) => { const at = 4 * (y * width + first + n); sum += part * (channels === 1 ? grey(at) : data[at + c]); });
      narrow[y * columns.length + x] = Math.round(sum);
    });
    rows.forEach(([first, parts], y) => columns.forEach((_, x) => {
      let sum = 0;
      parts.forEach((part, n) => { sum += part * narrow[(first + n) * columns.length + x]; });
      made[((t + y) * wide + l + x) * channels + c] = Math.round(sum);
    }));
  }
  return made;
}

function softmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b), -Infinity), powers = Array.from(logits, each => Math.exp(each - most));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map(each => each / total);
}

const sigmoid = logit => 1 / (1 + Math.exp(-logit));
const rowsOf = ({ data, dims }) => { // (1, A, n) or (A, n) as A arrays
  const n = dims.at(-1);
  return Array.from({ length: data.length / n }, (_, k) => Array.from(data.subarray(k * n, (k + 1) * n)));
};

// The boxes (ymin, xmin, ymax, xmax), shares of the image, and scores by class of a detector's outputs, as in jaxcnn.tasks.
function judged({ scores, logits, codes, anchors, cells, distances }) {
  const clip = box => box.map(each => Math.min(1, Math.max(0, each)));
  if (cells) {
    const [far, places] = [rowsOf(distances), rowsOf(cells)];
    const boxes = places.map(([y, x, height, width], k) => {
      const side = far[k].map((each, axis) => Math.exp(Math.min(each, 6)) * [height, width][axis % 2]);
      return clip([y - side[0], x - side[1], y + side[2], x + side[3]]);
    });
    return [boxes, rowsOf(scores).map(row => row.map(sigmoid))];
  }
  const [moves, starts] = [rowsOf(codes), rowsOf(anchors)];
  const boxes = starts.map(([top, left, bottom, right], k) => {
    const [y, x, h, w] = moves[k], largest = Math.log(1000 / 16), [tall, wide] = [bottom - top, right - left];
    const [cy, cx] = [(top + bottom) / 2 + y / 10 * tall, (left + right) / 2 + x / 10 * wide];
    const [high, broad] = [Math.exp(Math.min(h / 5, largest)) * tall, Math.exp(Math.min(w / 5, largest)) * wide];
    return clip([cy - high / 2, cx - broad / 2, cy + high / 2, cx + broad / 2]);
  });
  return [boxes, logits ? rowsOf(logits).map(row => row.map(sigmoid)) : rowsOf(scores).map(row => softmax(row).slice(1))];
}

function overlap(a, b) {
  const area = box => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
  const inner = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  return inner ? inner / (area(a) + area(b) - inner) : 0;
}

// The objects [label, score, box] of an image, the best first: the best candidates, then suppression class by class.
function detected(outputs, { score_threshold, nms_iou, candidates, detections }) {
  const [boxes, scores] = judged(outputs), kept = [];
  const all = scores.flatMap((row, k) => row.map((score, label) => [label, score, boxes[k]]));
  const best = all.filter(([, score]) => score >= score_threshold).sort((a, b) => b[1] - a[1]).slice(0, candidates);
  for (const each of best)
    if (!kept.some(other => other[0] === each[0] && overlap(other[2], each[2]) > nms_iou)) kept.push(each);
  return kept.slice(0, detections);
}

// A copy of the picture to draw on, and where the network's image lies in it: [source, target] of `shown`.
function drawable(canvas) {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  copy.getContext("2d").drawImage(canvas, 0, 0);
  return [copy, ...shown(canvas.height, canvas.width, about.shape[0], about.shape[1], about.fit)];
}

function withBoxes(canvas, objects, least = 0.5) {
  const [copy, [top, left, bottom, right], [t, l, b, r]] = drawable(canvas), brush = copy.getContext("2d");
  const [high, wide] = about.shape;
  brush.lineWidth = Math.max(1, Math.round(Math.min(copy.width, copy.height) / 200));
  brush.font = "14px system-ui, sans-serif";
  for (const [label, score, box] of objects.filter(each => each[1] >= least).reverse()) {
    const [ymin, ymax] = [box[0], box[2]].map(y => top + (y * high - t) / (b - t) * (bottom - top));
    const [xmin, xmax] = [box[1], box[3]].map(x => left + (x * wide - l) / (r - l) * (right - left));
    brush.strokeStyle = brush.fillStyle = `rgb(${about.colours[label]})`;
    brush.strokeRect(xmin, ymin, xmax - xmin, ymax - ymin);
    brush.fillText(`${about.classes[label]} ${score.toFixed(2)}`, xmin + 4, ymin + 16);
  }
  return [["prediction", copy.toDataURL()]];
}

// What the page shows, by task.
const readers = {
  classification({ output }) {
    const rows = softmax(output.data).map((share, k) => [about.classes[k], share]).sort((a, b) => b[1] - a[1]);
    return { text: rows[0][0], rows: rows.slice(0, 10) };
  },
  localization({ logits, boxes }, canvas) {
    const shares = softmax(logits.data), score = Math.max(...shares), label = shares.indexOf(score);
    const rows = [[about.classes[label], score]];
    return { text: about.classes[label], rows, pictures: withBoxes(canvas, [[label, score, Array.from(boxes.data)]], 0) };
  },
  detection(outputs, canvas) {
    const objects = detected(outputs, about.options), counts = about.classes.map(() => 0);
    for (const [label, score] of objects) counts[label] += score >= 0.5;
    const text = about.classes.map((name, k) => `${counts[k]} ${name}`).filter((_, k) => counts[k]).join(", ");
    const rows = objects.slice(0, 10).map(([label, score]) => [about.classes[label], score]);
    return { text: text || "nothing found", rows, pictures: withBoxes(canvas, objects) };
  },
  segmentation({ output }, canvas) {
    const [copy, [top, left, bottom, right], [t, l, b, r]] = drawable(canvas), pixels = rowsOf(output);
    const mask = Object.assign(document.createElement("canvas"), { width: about.shape[1], height: about.shape[0] });
    const paint = mask.getContext("2d"), image = paint.createImageData(mask.width, mask.height);
    const counts = about.classes.map(() => 0), brush = copy.getContext("2d");
    pixels.forEach((row, k) => {
      const label = row.indexOf(Math.max(...row));
      counts[label]++;
      image.data.set([...about.colours[label], 255], 4 * k);
    });
    paint.putImageData(image, 0, 0);
    Object.assign(brush, { globalAlpha: 0.5, imageSmoothingEnabled: false });
    brush.drawImage(mask, l, t, r - l, b - t, left, top, right - left, bottom - top);
    const order = counts.map((count, k) => k).filter(k => counts[k]).sort((a, c) => counts[c] - counts[a]).slice(0, 10);
    Object.assign(brush, { globalAlpha: 1, font: "14px system-ui, sans-serif" });
    order.forEach((k, place) => { // a legend
      brush.fillStyle = `rgb(${about.colours[k]})`;
      brush.fillRect(4, 4 + 18 * place, 12, 12);
      brush.fillStyle = "white";
      brush.fillText(about.classes[k], 20, 15 + 18 * place);
    });
    const rows = order.map(k => [about.classes[k], counts[k] / pixels.length]);
    return { text: rows[0][0], rows, pictures: [["prediction", copy.toDataURL()]] };
  },
};

async function answer(canvas) {
  const runner = await session, [height, width, channels] = about.shape;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const pixels = fitted(data, canvas.height, canvas.width, about.shape, about.fit);
  const outputs = await runner.run({ images: new ort.Tensor("uint8", pixels, [1, height, width, channels]) });
  return readers[about.task](outputs, canvas);
}
