// The picture, from a file, the camera or the mouse, is always on one canvas; `answer(canvas)` is in the other script.
const about = JSON.parse(document.getElementById("about").textContent);
const LARGEST = 1024; // pixels of a picture's longer side
const MARGIN = 4 / 28; // around a drawn character, as in MNIST
const [canvas, camera, invert] = ["picture", "camera", "invert"].map(id => document.getElementById(id));
const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
const pen = canvas.getContext("2d", { willReadFrequently: true });
let drawing = false, strokes = [], down = false, busy = false, again = false;

function tell(note) { document.getElementById("note").textContent = note; }

function put(image, width, height) {
  const scale = Math.min(1, LARGEST / Math.max(width, height));
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
}

function stopCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  camera.setAttribute("aria-pressed", "false");
}

function startDrawing() {
  stopCamera();
  const [height, width] = about.shape, scale = Math.min(280 / Math.min(height, width), LARGEST / Math.max(height, width));
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  pen.fillRect(0, 0, canvas.width, canvas.height);
  [drawing, strokes] = [true, []];
  tell("Draw with the mouse or a finger. “Draw” begins again.");
}

// Draw all strokes, moved and scaled, with a pen of one width.
function draw(brush, scale = 1, left = 0, top = 0) {
  const width = Math.min(canvas.width, canvas.height) / 14;
  Object.assign(brush, { strokeStyle: "white", lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    brush.beginPath();
    for (const [x, y] of [stroke[0], ...stroke]) brush.lineTo(left + scale * x, top + scale * y);
    brush.stroke();
  }
}

// A drawn character is put into the middle, as large as those of the training images.
function centred() {
  const whole = newCanvas(canvas.width, canvas.height), inner = 1 - 2 * MARGIN - 1 / 14; // the pen's width is outside
  const [xs, ys] = [0, 1].map(axis => strokes.flat().map(point => point[axis]));
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min(inner * whole.width / Math.max(1, right - left), inner * whole.height / Math.max(1, bottom - top));
  draw(whole.getContext("2d"), scale, (whole.width - scale * (left + right)) / 2, (whole.height - scale * (top + bottom)) / 2);
  return whole;
}

function newCanvas(width, height) {
  const made = Object.assign(document.createElement("canvas"), { width, height });
  made.getContext("2d").fillRect(0, 0, width, height);
  return made;
}

function seen() {
  const image = drawing && strokes.length && about.task === "classification" ? centred() : canvas;
  if (!invert.checked) return image;
  const other = newCanvas(image.width, image.height), brush = other.getContext("2d");
  brush.drawImage(image, 0, 0);
  Object.assign(brush, { globalCompositeOperation: "difference", fillStyle: "white" });
  brush.fillRect(0, 0, other.width, other.height);
  return other;
}

// One question at a time; what changed meanwhile is asked when the answer is there.
async function ask() {
  if (busy) { again = true; return; }
  busy = true;
  do {
    again = false;
    let found;
    try { found = await answer(seen()); } catch (error) { found = { error: String(error.message ?? error) }; }
    show(found);
  } while (again);
  busy = false;
}

function show({ error, text = "", rows = [], pictures = [] }) {
  tell(error ?? "");
  document.getElementById("text").textContent = text;
  document.getElementById("rows").replaceChildren(...rows.map(([name, share]) => {
    const row = document.createElement("tr"), head = document.createElement("th");
    const meter = Object.assign(document.createElement("meter"), { value: share });
    head.scope = "row";
    head.textContent = name;
    row.append(head, document.createElement("td"), document.createElement("td"));
    row.children[1].textContent = (100 * share).toFixed(1) + " %";
    row.children[2].append(meter);
    return row;
  }));
  document.getElementById("pictures").replaceChildren(...pictures.map(([caption, source]) => {
    const figure = document.createElement("figure"), text = document.createElement("figcaption");
    text.textContent = caption;
    figure.append(Object.assign(new Image(), { src: source, alt: caption }), text);
    return figure;
  }));
}

document.getElementById("file").addEventListener("change", async event => {
  const [file] = event.target.files;
  event.target.value = ""; // the same file may be chosen again
  if (!file) return;
  stopCamera();
  drawing = false;
  try {
    const image = await createImageBitmap(file);
    put(image, image.width, image.height);
    ask();
  } catch { show({ error: "The browser cannot read this file; choose a PNG, a JPEG or another picture." }); }
});

camera.addEventListener("click", async () => {
  if (video.srcObject) { stopCamera(); return; }
  try { video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true }); } catch (error) {
    show({ error: `The camera cannot be used (${error.message}).` });
    return;
  }
  drawing = false;
  camera.setAttribute("aria-pressed", "true");
  await video.play();
  while (video.srcObject) {
    put(video, video.videoWidth, video.videoHeight);
    await ask();
    await new Promise(requestAnimationFrame);
  }
});

document.getElementById("draw").addEventListener("click", startDrawing);
invert.addEventListener("change", ask);

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}
canvas.addEventListener("pointerdown", event => {
  if (!drawing) return;
  canvas.setPointerCapture(event.pointerId);
  strokes.push([place(event)]);
  down = true;
});
canvas.addEventListener("pointermove", event => {
  if (!down) return;
  strokes.at(-1).push(place(event));
  draw(pen);
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => {
  if (!down) return;
  down = false;
  draw(pen);
  ask();
});
startDrawing();
