// Time limits: every wait has one, and slow builds (sanitizers) stretch them all by SLUICE_TEST_SLOW.

const slowness = Number(process.env.SLUICE_TEST_SLOW ?? 1);

/** `ms` of a normal build in milliseconds of this one. */
export const stretched = (ms) => Math.ceil(ms * slowness);

/** Whether this build is a slow one; some tests then do less of the same. */
export const slow = slowness > 1;

/** What `promise` gives, or an error that names what was waited for. */
export async function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${stretched(ms)} ms: ${what}`)), stretched(ms));
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again and again until the answer is truthy, and gives it. Only for states that nobody can announce. */
export async function until(ask, what, ms = 5000) {
  const deadline = Date.now() + stretched(ms);
  let last;
  for (;;) {
    last = await ask();
    if (last) return last;
    if (Date.now() > deadline) throw new Error(`not within ${stretched(ms)} ms: ${what}`);
    await pause(10);
  }
}

/** Lets time pass where time itself is what is tested; never to wait for something. */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
