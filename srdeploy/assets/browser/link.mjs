// The wire to the computer: who we are, a pulse every second, the next job, its reply.
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

function remembered() {
  try {
    const key = localStorage.getItem("srdeploy-phone") ?? random();
    localStorage.setItem("srdeploy-phone", key);
    return key;
  } catch { return random(); } // storage is blocked: a reload is then a new device
}

export class Gone extends Error {}

export class Link {
  phone = remembered();
  page = random(); // a reload is another page of the same phone
  state = {};
  get who() { return `phone=${this.phone}&page=${this.page}`; }

  async ask(path, body, options = {}) {
    const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    const join = path.includes("?") ? "&" : "?";
    const answer = await fetch(`${path}${join}${this.who}`, { ...sent, ...options });
    if (answer.status === 404) throw new Gone("stale");
    if (answer.status === 409) throw new Gone("moved");
    if (answer.status === 204) return null;
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  }
  hello(facts) { return this.ask("hello", { facts, wanted: decodeURIComponent(location.hash.slice(1)) }); }
  next() { return this.ask("next"); }
  reply(id, reply) { return this.ask(`reply?job=${id}`, reply); }

  // Starts the pulse; a closed page says so itself, a dead one is noticed by its silence.
  live() {
    const beat = () => (this.beating = this.ask("beat", { hidden: document.hidden, ...this.state }, { signal: AbortSignal.timeout(4000) }).catch(() => {}));
    this.timer = setInterval(beat, 1000);
    if (this.listening) return;
    this.listening = true;
    document.addEventListener("visibilitychange", () => this.timer && beat());
    addEventListener("pagehide", () => this.timer && navigator.sendBeacon(`leave?${this.who}`));
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }
  // Ends it. The computer stops listening once the farewell is answered, so nothing may follow it.
  async end(id) {
    clearInterval(this.timer);
    this.timer = undefined;
    await this.beating;
    await this.reply(id, { ok: true }).catch(() => {});
  }
}
