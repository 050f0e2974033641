// The API reference: complete, to be linked into, to be used by keyboard, and true.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { ADMIN_KEY, BASE, close, eventually, launch, open, scheduleDrop } from "./lib.mjs";

before(async () => {
  await launch();
  // The newest drop is the one to try, so it must be on.
  await scheduleDrop();
});
after(close);

async function reference(t, hash = "") {
  const page = await open(t, `/docs${hash}`);
  await page.locator("#schema-Drop").waitFor();
  return page;
}

test("every operation of the document is there, and every link leads somewhere", async (t) => {
  const page = await reference(t);
  const document = await (await fetch(`${BASE}/openapi.json`)).json();
  const described = Object.values(document.paths).flatMap((item) => Object.values(item).map(({ operationId }) => operationId));
  const shown = await page.locator("api-operation").evaluateAll((all) => all.map(({ id }) => id));
  assert.deepEqual(shown.sort(), described.sort());
  const lost = await page.locator('a[href^="#"]').evaluateAll((all) => all.map((link) => link.getAttribute("href")).filter((to) => !document.getElementById(to.slice(1))));
  assert.deepEqual(lost, []);
  const ids = await page.locator("[id]").evaluateAll((all) => all.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
});

test("an operation tells what it takes, what it answers and what can go wrong", async (t) => {
  const page = await reference(t);
  const text = await page.locator("#placeHold").innerText();
  for (const words of ["POST", "/v1/drops/{id}/holds", "Idempotency-Key", "buyer_id", "201", "sold_out", "retry_after", "Location"]) {
    assert.ok(text.includes(words), `${words} is not in ${text}`);
  }
});

test("a link into the page goes there", async (t) => {
  const page = await reference(t, "#purchaseHold");
  await page.locator("#purchaseHold:target").waitFor();
  const top = await page.locator("#purchaseHold").evaluate((element) => element.getBoundingClientRect().top);
  assert.ok(top >= 0 && top < 400, `${top}`);
});

test("each line has a key of its own, and none ends a drop that is there", async (t) => {
  const page = await reference(t);
  const lines = await page.locator("api-operation pre:last-of-type").allInnerTexts();
  const keys = lines.flatMap((line) => /Idempotency-Key: ([^']+)/.exec(line)?.[1] ?? []);
  assert.ok(keys.length >= 4, `${keys}`);
  assert.equal(new Set(keys).size, keys.length);
  assert.match(await page.locator("#cancelDrop pre").last().innerText(), /\/v1\/drops\/DROP_ID\/cancel/);
});

test("on a phone the contents are folded until they are asked for", async (t) => {
  const page = await open(t, "/docs", { viewport: { width: 390, height: 844 } });
  await page.locator("#schema-Drop").waitFor();
  assert.ok(await page.getByRole("heading", { name: "API reference" }).evaluate((heading) => heading.getBoundingClientRect().bottom < innerHeight));
  const link = page.getByRole("navigation", { name: "Contents" }).getByRole("link", { name: "Buy what is held" });
  assert.equal(await link.isVisible(), false);
  await page.getByText("Contents", { exact: true }).click();
  await link.click();
  await page.locator("#purchaseHold:target").waitFor();
  await eventually("it is in sight", () => page.locator("#purchaseHold").evaluate((element) => Math.abs(element.getBoundingClientRect().top) < 200));
  assert.equal(await link.isVisible(), false);
});

test("the lines to try run as they stand", async (t) => {
  const page = await reference(t);
  const env = { ...process.env, HOLDFAST_ADMIN_KEY: ADMIN_KEY };
  for (const id of ["listDrops", "readDrop", "createDrop", "editDrop", "readMetrics", "isAlive", "explainProblem"]) {
    const line = await page.locator(`#${id} pre`).last().innerText();
    const { stdout } = await promisify(execFile)("sh", ["-c", `${line} -o /dev/null -w '%{http_code}'`], { env });
    assert.match(stdout, /^20[01]$/, line);
  }
});
