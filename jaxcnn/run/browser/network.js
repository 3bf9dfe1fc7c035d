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
  const most = Math.max(...logits), powers = Array.from(logits, each => Math.exp(each - most));
  const total = powers.reduce((a, b) => a + b, 0);
  return powers.map(each => each / total);
}

async function answer(canvas) {
  const runner = await session, [height, width, channels] = about.shape;
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const pixels = fitted(data, canvas.height, canvas.width, about.shape, about.fit);
  const { output } = await runner.run({ images: new ort.Tensor("uint8", pixels, [1, height, width, channels]) });
  const shares = softmax(output.data).map((share, k) => [about.classes[k], share]).sort((a, b) => b[1] - a[1]);
  return { text: shares[0][0], rows: shares.slice(0, 10) };
}
