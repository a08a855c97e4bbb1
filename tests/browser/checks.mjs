// Shared by the scripts in this directory: checks that are counted, and waits with a time limit.
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

/// Waits for the promise, up to a number of seconds. Then it throws an error that names what it waited for.
export async function within(seconds, what, promise) {
  let timer;
  const timeout = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${seconds} s for ${what}`)), seconds * 1000);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

export function equal(what, actual, expected) {
  if (actual !== expected) {
    throw new Error(`${what} is ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
  }
}

/// Returns the server's address, `http://HOST:PORT`, from the command line.
export function baseUrl() {
  const url = process.argv[2];
  if (!url || !URL.canParse(url) || !new URL(url).protocol.startsWith('http')) {
    console.error(`usage: node ${process.argv[1]} http://127.0.0.1:9000`);
    process.exit(2);
  }
  return new URL(url).origin;
}

/// Prints the totals and ends the process, with exit code 0 if all checks have passed.
export function finish() {
  console.log(`${results.passed} passed, ${results.failed} failed`);
  process.exit(results.failed === 0 && results.passed > 0 ? 0 : 1);
}
