// The page's course: say hello, take jobs one by one, hand them to the worker, show what happens.
import { collect, stayAwake, watchBattery } from "./facts.mjs";
import { Gone, Link } from "./link.mjs";
import * as view from "./view.mjs";

const link = new Link();
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const DOING = {
  open: ["Loading", "Fetching the network and starting the runtime."],
  prepare: ["Warming up", "The first run, then a few untimed ones."],
  turn: ["Measuring", "Leave the device alone for a moment."],
  run: ["Upscaling test pictures", "The results go back to the computer, which works out the PSNR."],
};

let worker, workerOf;
function workerFor(model) {
  const key = `${model.backend}-${model.threads}`;
  if (workerOf !== key) { worker?.terminate(); worker = new Worker("worker.mjs", { type: "module" }); workerOf = key; }
  return worker;
}

function perform(job) {
  return new Promise((done) => {
    const running = workerFor(job.model);
    running.onmessage = ({ data }) => {
      if (data.progress !== undefined && job.share === undefined) view.progress(data.progress);
      if (data.picture) view.picture({ pixels: data.picture, w: data.w, h: data.h, title: job.title, bicubic: `blob/${job.picture.bicubic}` }).catch(console.warn);
      if (data.id === job.id) done(data.reply);
    };
    running.onerror = (event) => {
      event.preventDefault();
      worker = workerOf = undefined;
      const memory = /memory/i.test(event.message ?? "");
      done({ ok: false, code: memory ? "memory" : "run", error: memory
        ? "the browser ran out of memory; use a smaller input or a tile, or close other tabs and apps."
        : `the browser stopped the measurement (${event.message || "it gave no reason"}); reload the page.` });
    };
    running.postMessage({ ...job, phone: link.phone, page: link.page });
  });
}

function show(job) {
  const [headline, detail] = DOING[job.do] ?? ["Working", ""];
  view.backend(job.model?.label ?? "");
  view.say(job.do === "run" ? headline : `${headline} ${job.title}`, detail, "busy");
  view.progress(job.share ?? null);
}

// What came of it all, once the computer has worked it out.
let verdict;

// Serves one job; false when the computer has no more.
async function serve(job) {
  if (job.do === "bye") {
    await link.end(job.id);
    view.progress(undefined);
    const [thanks, next] = job.stays
      ? ["Done for now, thank you", "Leave this page open: it goes on by itself when there is more to measure."]
      : ["All done, thank you", "The results are on the computer; this page may be closed."];
    view.say(verdict?.headline ?? thanks, verdict ? `${verdict.detail} ${next}` : next, "done");
    return Boolean(job.stays);
  }
  if (job.do === "show") {
    verdict = job;
    view.progress(undefined);
    view.say(job.headline, job.detail, "done");
    for (const { title, text } of job.rows) view.remark(title, text);
    await link.reply(job.id, { ok: true });
    return true;
  }
  if (job.do !== "close") show(job);
  const reply = await perform(job);
  await link.reply(job.id, reply);
  if (!reply.ok) { view.progress(undefined); view.say("This did not work", reply.error.replace(/^./, (c) => c.toUpperCase()), "error"); }
  else if (reply.first_ms !== undefined || reply.samples_ms) view.result(job.model.key, job.title, reply);
  return true;
}

function describe(facts) {
  const gpu = facts.gpu ? facts.gpu.name + (facts.gpu.software ? " (software)" : "") : facts.webgpu ? "no adapter offered" : "not in this browser";
  const threads = facts.isolated ? `up to ${facts.cores}` : "one only: the page is not isolated";
  return [
    ["Browser", facts.browser], ["System", facts.system], ["Cores", facts.cores ?? "not told"], ["WASM threads", threads],
    ["WebGPU", gpu], ["Secure context", facts.secure ? "yes" : "no: open the https address of the terminal"],
    ["Clock step", `${(facts.clock_ms * 1e3).toFixed(0)} µs`],
  ];
}

const ENDS = {
  stale: ["This address is from an earlier session", "Scan the code in the terminal again, or open the address it shows now."],
  moved: ["This measurement goes on in another tab", "Close this tab, or reload it to go on here."],
};

async function main() {
  view.arm();
  view.say("Getting ready", "Asking the browser what it can do.", "busy");
  if (typeof Worker !== "function" || typeof WebAssembly !== "object") {
    view.say("This browser is too old", "It has no WebAssembly; use a current Chrome, Edge, Firefox or Safari.", "error");
    return;
  }
  const facts = await collect();
  stayAwake();
  watchBattery((news) => Object.assign(link.state, news));
  for (let met = false, resting = false, live = true, lost = 0; live; ) {
    try {
      if (!met) {
        const { name, browser, system } = await link.hello(facts);
        view.name(name);
        view.facts(describe({ ...facts, browser, system }));
        if (!link.timer) link.live();
        view.say("Ready", "Waiting for the computer to send the first network.");
        met = true; resting = false; lost = 0;
      }
      const job = await link.next();
      if (lost) { lost = 0; view.say("Ready", "The computer is back."); }
      if (job) live = await serve(job);
      if (job?.stays) { met = false; resting = true; await pause(1000); }
    } catch (error) {
      if (met && error instanceof Gone && error.message === "stale") { met = false; continue; } // another server, perhaps of the same address
      if (error instanceof Gone) {
        link.end();
        view.progress(undefined);
        view.say(...ENDS[error.message], "error");
        return;
      }
      if (resting) { await pause(2000); continue; }
      lost += 1;
      view.progress(null);
      if (lost > 1) view.say("No contact with the computer", "Is the command still running, and the phone on the same network? Trying again every second.", "error");
      await pause(1000);
    }
  }
}

main().catch((error) => view.say("This page failed", `${error?.message ?? error}; reload it.`, "error"));
