// The server answers: send the picture as a PNG, get {text, rows, pictures} or {error}.
async function answer(canvas) {
  const file = await new Promise(done => canvas.toBlob(done, "image/png"));
  return (await fetch("answer", { method: "POST", body: file })).json();
}
