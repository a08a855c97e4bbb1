// What the scripts here share: checks that are counted, and waits that end.
const results = { passed: 0, failed: 0 };

/// Runs one check. A check that fails is reported, and the next one runs.
export async function check(name, body) {
  try {
    await within(60, name, body());
    results.passed++;
    console.log(`ok      ${name}`);
  } catch (error) {
    results.failed++;
    console.log(`FAILED  ${name}: ${error.message}`);
  }
}

/// The promise, or after so many seconds an error that says what was waited for.
export async function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${seconds} s for ${what}`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function equal(what, actual, expected) {
  if (actual !== expected) {
    throw new Error(`${what} is ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
  }
}

/// The server's address, as `http://HOST:PORT`.
export function baseUrl() {
  const url = process.argv[2];
  if (!url || !URL.canParse(url) || !new URL(url).protocol.startsWith('http')) {
    console.error(`usage: node ${process.argv[1]} http://127.0.0.1:9000`);
    process.exit(2);
  }
  return new URL(url).origin;
}

/// Prints the sum, and ends the process: 0 when all has passed.
export function finish() {
  console.log(`${results.passed} passed, ${results.failed} failed`);
  process.exit(results.failed === 0 && results.passed > 0 ? 0 : 1);
}
