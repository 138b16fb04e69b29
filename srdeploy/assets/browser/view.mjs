// Everything that is seen; nothing here talks to the computer.
const $ = (id) => document.getElementById(id);
const digits = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
const figure = (ms) => (ms === undefined ? ["–", ""] : ms < 10000 ? [digits(ms), "ms"] : [digits(ms / 1000), "s"]);
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

export function say(headline, detail = "", state = "idle") {
  $("headline").textContent = headline;
  $("detail").textContent = detail;
  $("status").dataset.state = state;
  document.title = `${headline} · srdeploy`;
}

// share: 0..1, null for "busy, no idea how long", undefined for no bar.
export function progress(share) {
  $("bar").hidden = share === undefined;
  if (share == null) { $("bar").removeAttribute("aria-valuenow"); $("bar").firstElementChild.style.width = ""; return; }
  $("bar").setAttribute("aria-valuenow", Math.round(share * 100));
  $("bar").firstElementChild.style.width = `${share * 100}%`;
}

export function name(text) { chip("name", text); }
export function backend(text) { chip("backend", text); }
function chip(id, text) { $(id).textContent = text; $(id).hidden = !text; }

export function facts(rows) {
  $("device").hidden = false;
  $("facts").replaceChildren(...rows.flatMap(([term, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term; dd.textContent = value;
    return [dt, dd];
  }));
}

const kept = new Map();

// One row per network: medians, and a strip of its samples in the order taken.
export function result(key, title, news) {
  const row = kept.get(key) ?? { title, samples: [], compute: [] };
  kept.set(key, row);
  row.first = news.first_ms ?? row.first;
  row.samples.push(...(news.samples_ms ?? []));
  row.compute.push(...(news.compute_ms ?? []));
  $("results").hidden = false;
  row.node ??= $("rows").appendChild(Object.assign(document.createElement("div"), { className: "row" }));
  const shown = [["median", row.samples.length ? median(row.samples) : undefined], ["first run", row.first]];
  shown.push(row.compute.length ? ["on the GPU", median(row.compute)] : ["samples", row.samples.length]);
  row.node.replaceChildren(
    Object.assign(document.createElement("b"), { textContent: title }),
    Object.assign(document.createElement("div"), { className: "figures" }),
  );
  for (const [label, value] of shown) {
    const cell = document.createElement("div");
    const [number, unit] = label === "samples" ? [value, ""] : figure(value);
    cell.append(Object.assign(document.createElement("span"), { textContent: label }),
      Object.assign(document.createElement("strong"), { textContent: number }),
      Object.assign(document.createElement("small"), { textContent: ` ${unit}` }));
    row.node.lastElementChild.append(cell);
  }
  if (row.samples.length > 1) row.node.append(strip(row.samples));
}

// What the computer found out about a network, below its times.
export function remark(title, text) {
  for (const row of kept.values())
    if (row.title === title && text) {
      row.node.querySelector(".remark")?.remove();
      row.node.append(Object.assign(document.createElement("p"), { className: "remark", textContent: text }));
    }
}

function strip(samples) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const shown = samples.slice(-400), low = Math.min(...shown) * 0.95, high = Math.max(...shown) * 1.05;
  svg.setAttribute("viewBox", "0 0 400 36");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${samples.length} samples from ${figure(Math.min(...samples)).join(" ")} to ${figure(Math.max(...samples)).join(" ")}`);
  const line = document.createElementNS(svg.namespaceURI, "polyline");
  const points = shown.map((ms, i) => `${((i / (shown.length - 1)) * 400).toFixed(1)},${(35 - ((ms - low) / (high - low || 1)) * 34).toFixed(1)}`);
  line.setAttribute("points", points.join(" "));
  for (const [key, value] of Object.entries({ fill: "none", stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" })) line.setAttribute(key, value);
  svg.append(line);
  return svg;
}

export async function picture({ pixels, w, h, title, bicubic }) {
  const stage = $("stage");
  $("shown").textContent = title;
  for (const id of ["network", "bicubic"]) { $(id).width = w; $(id).height = h; }
  stage.style.aspectRatio = `${w} / ${h}`;
  $("network").getContext("2d").putImageData(new ImageData(pixels, w, h), 0, 0);
  const image = new Image();
  image.src = bicubic;
  await image.decode();
  $("bicubic").getContext("2d").drawImage(image, 0, 0);
  $("picture").hidden = false;
}

// Dragging moves the cut, a tap magnifies the place under the finger; the slider serves keyboards.
export function arm() {
  const stage = $("stage"), cut = $("cut");
  const move = (value) => { cut.value = value; stage.style.setProperty("--cut", `${value}%`); };
  const at = (event) => { const box = stage.getBoundingClientRect(); return [((event.clientX - box.left) / box.width) * 100, ((event.clientY - box.top) / box.height) * 100]; };
  let from = null;
  cut.addEventListener("input", () => move(cut.value));
  stage.addEventListener("pointerdown", (event) => { from = event.clientX; stage.setPointerCapture(event.pointerId); });
  stage.addEventListener("pointermove", (event) => { if (from !== null && Math.abs(event.clientX - from) > 4) move(Math.min(100, Math.max(0, at(event)[0]))); });
  stage.addEventListener("pointerup", (event) => {
    if (from !== null && Math.abs(event.clientX - from) <= 4) {
      const [x, y] = at(event), zoomed = stage.classList.toggle("zoomed");
      stage.style.setProperty("--zoom", zoomed ? 4 : 1);
      if (zoomed) { stage.style.setProperty("--x", `${x}%`); stage.style.setProperty("--y", `${y}%`); }
    }
    from = null;
  });
  stage.addEventListener("pointercancel", () => { from = null; });
}
