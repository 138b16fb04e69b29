// Runs networks with onnxruntime-web, away from the page's thread, which keeps its pulse meanwhile.
// Every job names its network and its tensor, so a job can be given to a fresh worker after a reload.
let ort;
const networks = new Map();
const now = () => performance.now();
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

class Refusal extends Error {
  constructor(code, sentence) { super(sentence); this.code = code; }
}

// What went wrong and what to do, in one sentence, with a code that the computer sorts by.
function explain(error) {
  if (error instanceof Refusal) return { code: error.code, error: error.message };
  const text = String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 300);
  // 32-bit WASM cannot even count the bytes of what is too large: an "integer overflow".
  if (/out of memory|integer overflow|bad_alloc|allocation failed|could not allocate|memory access out of bounds|not enough memory/i.test(text))
    return { code: "memory", error: "the browser ran out of memory; use a smaller input or a tile, or close other tabs and apps." };
  if (/device (was |is )?lost|lost device/i.test(text))
    return { code: "device-lost", error: `the GPU was taken away from the page (${text}); reload the page, or use wasm.` };
  if (/Failed to fetch|Load failed|NetworkError/i.test(text))
    return { code: "network", error: "the page could not fetch a file from the computer; check that the phone is on the same network." };
  return { code: "run", error: `${text.replace(/[.\s]+$/, "")}.` };
}

async function fetched(blob) {
  const answer = await fetch(`blob/${blob.id}`);
  if (!answer.ok) throw new Refusal("network", `the computer did not hand over a file (status ${answer.status}); reload the page.`);
  const bytes = await answer.arrayBuffer();
  if (bytes.byteLength !== blob.bytes)
    throw new Refusal("network", `a file arrived with ${bytes.byteLength} of ${blob.bytes} bytes; reload the page.`);
  return bytes;
}

async function start(model) {
  if (typeof WebAssembly !== "object")
    throw new Refusal("unsupported", "this browser has no WebAssembly; use a current Chrome, Edge, Firefox or Safari.");
  if (model.backend === "webgpu") {
    if (!self.isSecureContext)
      throw new Refusal("insecure", "WebGPU needs https or localhost; open the address that the terminal shows.");
    if (!navigator.gpu)
      throw new Refusal("no-webgpu", "this browser has no WebGPU; use Chrome 121 or later (Android), Safari 26 or later (iPhone, iPad), or ask for wasm.");
    if (!(await navigator.gpu.requestAdapter()))
      throw new Refusal("no-adapter", "this browser knows WebGPU but offers no graphics adapter; switch graphics acceleration on, or ask for wasm.");
  }
  if (ort) return;
  ort = await import(`./ort/ort.${model.backend === "webgpu" ? "webgpu" : "wasm"}.min.mjs`);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = model.threads;
  ort.env.wasm.wasmPaths = new URL("./ort/", self.location.href).href;
}

async function open(model) {
  if (networks.has(model.key)) return networks.get(model.key);
  const bytes = new Uint8Array(await fetched(model.blob));
  const gpu = model.backend === "webgpu";
  const begun = now();
  await start(model);
  const options = { executionProviders: [model.backend], graphOptimizationLevel: "all" };
  if (gpu) options.preferredOutputLocation = "gpu-buffer";
  let session, onCpuToo = false;
  try {
    if (gpu) options.extra = { session: { disable_cpu_ep_fallback: "1" } };
    session = await ort.InferenceSession.create(bytes, options);
  } catch (error) {
    if (!gpu || !/fallback/i.test(String(error?.message))) throw error;
    delete options.extra; // some operator has no kernel on the GPU; say so rather than refuse
    onCpuToo = true;
    session = await ort.InferenceSession.create(bytes, options);
  }
  const network = { session, gpu, onCpuToo, load_ms: now() - begun, name: session.inputNames[0], out: session.outputNames[0] };
  if (gpu) network.device = await ort.env.webgpu.device;
  networks.set(model.key, network);
  return network;
}

const whole = (network, tensor) => network.session.run({ [network.name]: tensor }).then((outs) => outs[network.out]);

// Tensor in, tensor out; on a GPU the network alone is timed between the transfers.
async function once(network, input) {
  if (!network.gpu) {
    const begun = now();
    const out = await whole(network, new ort.Tensor("float32", input.data, input.dims));
    return { total: now() - begun, data: out.data, dims: out.dims };
  }
  const { queue } = network.device;
  const begun = now();
  queue.writeBuffer(input.buffer, 0, input.data);
  await queue.onSubmittedWorkDone();
  const uploaded = now();
  const out = await whole(network, ort.Tensor.fromGpuBuffer(input.buffer, { dataType: "float32", dims: input.dims }));
  await queue.onSubmittedWorkDone();
  const computed = now();
  const data = await out.getData();
  const result = { total: now() - begun, compute: computed - uploaded, data, dims: out.dims };
  out.dispose();
  return result;
}

async function tensor(network, spec) {
  const input = { id: spec.id, dims: spec.dims, data: new Float32Array(await fetched(spec)) };
  if (network.gpu) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    input.buffer = network.device.createBuffer({ size: Math.ceil(input.data.byteLength / 16) * 16, usage });
  }
  return input;
}

// Run once, then warm up; also after a reload, so that no turn begins cold.
async function prepared(job) {
  const network = await open(job.model);
  if (network.input?.id === job.input.id) return network;
  network.input?.buffer?.destroy();
  network.input = await tensor(network, job.input);
  const first = await once(network, network.input);
  if (job.picture) picture(first, job.picture);
  network.first_ms = network.expected = first.total;
  const begun = now();
  for (let i = 0; i < job.warm.runs || now() - begun < job.warm.seconds * 1e3; i++)
    network.expected = (await once(network, network.input)).total;
  return network;
}

const jobs = {
  async open(job) {
    const { load_ms, onCpuToo } = await open(job.model);
    return { load_ms, on_cpu_too: onCpuToo, threads: ort.env.wasm.numThreads, version: ort.env.versions?.web ?? ort.env.versions?.common };
  },
  async prepare(job) {
    const network = networks.get(job.model.key);
    if (network?.input) { network.input.buffer?.destroy(); network.input = undefined; }
    return { first_ms: (await prepared(job)).first_ms };
  },
  async turn(job) {
    const network = await prepared(job);
    const samples = [], compute = [];
    if (network.expected < job.settle_below_ms) await once(network, network.input);
    const begun = now();
    let total = 0, told = 0;
    while (!samples.length || total < job.seconds * 1e3) {
      const result = await once(network, network.input);
      samples.push(result.total);
      if (network.gpu) compute.push(result.compute);
      total += result.total;
      if (now() - told > 1000) { told = now(); postMessage({ progress: Math.min(1, (now() - begun) / (job.seconds * 1e3)) }); }
    }
    network.expected = median(samples);
    return { samples_ms: samples, compute_ms: compute };
  },
  async run(job) {
    const network = await open(job.model);
    const input = await tensor(network, job.input);
    const { data, dims } = await once(network, input);
    input.buffer?.destroy();
    const answer = await fetch(`output?job=${job.id}&dims=${dims.join(",")}&page=${job.page}&phone=${job.phone}`, { method: "POST", body: data });
    if (!answer.ok) throw new Refusal("network", `the computer did not take the result (status ${answer.status}); reload the page.`);
    return {};
  },
  async close(job) {
    const network = networks.get(job.model.key);
    networks.delete(job.model.key);
    network?.input?.buffer?.destroy();
    await network?.session.release();
    return {};
  },
};

// The part of the output that the person holding the phone sees: planes to pixels.
function picture({ data, dims }, { x, y, w, h, range }) {
  const [, channels, height, width] = dims;
  const pixels = new Uint8ClampedArray(w * h * 4);
  for (let row = 0; row < h; row++)
    for (let column = 0; column < w; column++) {
      const from = (y + row) * width + x + column, to = (row * w + column) * 4;
      for (let c = 0; c < 3; c++) pixels[to + c] = (data[(channels === 1 ? 0 : c) * height * width + from] * 255) / range;
      pixels[to + 3] = 255;
    }
  postMessage({ picture: pixels, w, h }, [pixels.buffer]);
}

onmessage = async ({ data: job }) => {
  try {
    postMessage({ id: job.id, reply: { ok: true, ...(await jobs[job.do](job)) } });
  } catch (error) {
    postMessage({ id: job.id, reply: { ok: false, ...explain(error) } });
  }
};
