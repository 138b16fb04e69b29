// What the browser tells about the device it runs on.
function clockStep() {
  let step = Infinity;
  for (let i = 0; i < 50; i++) {
    const begun = performance.now();
    let then = begun;
    while (then === begun) then = performance.now();
    step = Math.min(step, then - begun);
  }
  return step;
}

async function adapter() {
  try {
    const found = await navigator.gpu?.requestAdapter();
    if (!found) return null;
    const { vendor, architecture, device, description, isFallbackAdapter } = found.info;
    const name = description || [vendor, architecture, device].filter(Boolean).join(" ") || "unnamed";
    const software = isFallbackAdapter ?? found.isFallbackAdapter ?? /swiftshader|llvmpipe/i.test(name);
    return { name, software: software || /swiftshader|llvmpipe/i.test(name), f16: found.features.has("shader-f16") };
  } catch { return null; }
}

export async function collect() {
  const hints = await navigator.userAgentData?.getHighEntropyValues(["model", "platform", "platformVersion", "architecture", "bitness", "fullVersionList"]).catch(() => null);
  return {
    user_agent: navigator.userAgent,
    hints: hints ?? null,
    cores: navigator.hardwareConcurrency ?? null,
    memory_gib: navigator.deviceMemory ?? null,
    gpu: await adapter(),
    webgpu: Boolean(navigator.gpu),
    secure: isSecureContext,
    isolated: self.crossOriginIsolated === true,
    wasm: typeof WebAssembly === "object",
    clock_ms: clockStep(),
    screen: [screen.width, screen.height, devicePixelRatio],
    touch: navigator.maxTouchPoints ?? 0,
  };
}

// Charge of the battery, 0..100, where the browser tells; `change` is called with it.
export async function watchBattery(change) {
  const battery = await navigator.getBattery?.().catch(() => null);
  if (!battery) return;
  const tell = () => change({ battery: battery.level * 100, charging: battery.charging });
  for (const event of ["levelchange", "chargingchange"]) battery.addEventListener(event, tell);
  tell();
}

export async function stayAwake() {
  const ask = () => document.hidden || navigator.wakeLock?.request("screen").catch(() => {});
  document.addEventListener("visibilitychange", ask);
  await ask();
}
