// The layout on a phone and on a small laptop: no message covers a button, no column is cut off,
// and the buttons of every dialog are visible.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  api,
  boxOf,
  card,
  close,
  createDrop,
  edit,
  eventually,
  expectText,
  launch,
  openDashboard,
  openLive,
} from "./lib.mjs";

before(launch);
after(close);

const PHONE = {
  viewport: { width: 360, height: 740 },
  isMobile: true,
  hasTouch: true,
  deviceScaleFactor: 2,
};
const LAPTOP = { viewport: { width: 1280, height: 720 } };
const SIZES = { phone: PHONE, laptop: LAPTOP };

/** Asserts that an element is in the window, and that nothing covers it. */
async function isReachable(locator) {
  const words = await locator.innerText();
  await eventually(`“${words}” can be pressed`, () =>
    locator.evaluate((element) => {
      const { left, right, top, bottom } = element.getBoundingClientRect();
      if (left < 0 || top < 0 || right > innerWidth + 1 || bottom > innerHeight + 1) return false;
      const points = [
        [left + 4, top + 4],
        [right - 4, top + 4],
        [(left + right) / 2, (top + bottom) / 2],
        [left + 4, bottom - 4],
        [right - 4, bottom - 4],
      ];
      return points.every(([x, y]) => element.contains(document.elementFromPoint(x, y)));
    }),
  );
}

/** Records, with every frame, which elements that match `selector` are covered by a message. */
async function watchOverlaps(page, selector) {
  await page.evaluate((selector) => {
    globalThis.covered = [];
    globalThis.frames = 0;
    const look = () => {
      const toasts = [...document.querySelectorAll("toast-list .toast")].map((toast) =>
        toast.getBoundingClientRect(),
      );
      if (toasts.length > 0) globalThis.frames += 1;
      for (const element of document.querySelectorAll(selector)) {
        const box = element.getBoundingClientRect();
        const isCovered = toasts.some(
          (toast) =>
            toast.left < box.right &&
            toast.right > box.left &&
            toast.top < box.bottom &&
            toast.bottom > box.top,
        );
        if (isCovered && box.width > 0) globalThis.covered.push(element.textContent);
      }
      requestAnimationFrame(look);
    };
    look();
  }, selector);
  return () =>
    page.evaluate(() => ({
      covered: [...new Set(globalThis.covered)],
      seen: globalThis.frames > 0,
    }));
}

for (const [name, size] of Object.entries(SIZES)) {
  test(`no message covers the next button, ${name}`, async (t) => {
    const drop = await createDrop({ hold_seconds: 600, max_per_hold: 2 });
    const page = await openLive(t, `/drops/${drop.id}`, { ...size, reducedMotion: "reduce" });
    const overlaps = await watchOverlaps(page, "main button, main input, hold-panel");
    await page.getByLabel("Quantity").fill("2");
    for (const words of ["Hold it", "Release", "Hold again", "Hold it", /^Buy for/]) {
      const button = page.getByRole("button", { name: words });
      await button.scrollIntoViewIfNeeded();
      await isReachable(button);
      await button.click();
    }
    await expectText(page.locator("hold-panel .outcome"), "Purchase complete.");
    assert.deepEqual(await overlaps(), { covered: [], seen: true });
  });

  test(`no message covers a button at any scroll position, ${name}`, async (t) => {
    const drop = await createDrop({ hold_seconds: 600 });
    const page = await openLive(t, "/", { ...size, reducedMotion: "reduce" });
    await card(page, drop).getByRole("button", { name: "Hold it" }).click();
    const buy = card(page, drop).getByRole("button", { name: /^Buy for/ });
    await buy.waitFor();
    await page.locator(".toast").waitFor();
    for (const block of ["start", "center", "end", "nearest"]) {
      await buy.evaluate((button, block) => button.scrollIntoView({ block }), block);
      // At the start it is covered by the sticky header of the page.
      if (block !== "start") await isReachable(buy);
      // The page moves its messages in the frame after a scroll.
      await page.waitForFunction(() => {
        const toast = document.querySelector(".toast")?.getBoundingClientRect();
        const boxes = [...document.querySelectorAll("main button.primary")].map((button) =>
          button.getBoundingClientRect(),
        );
        return !boxes.some(
          (box) =>
            toast !== undefined &&
            toast.left < box.right &&
            toast.right > box.left &&
            toast.top < box.bottom &&
            toast.bottom > box.top,
        );
      });
    }
  });

  test(`the buttons of every dialog are visible, whatever its content, ${name}`, async (t) => {
    const drop = await createDrop({ description: "Long. ".repeat(100) });
    const page = await openDashboard(t, { ...size, expected: [/status of 4\d\d/] });
    const row = page.locator(`tr[data-drop-id="${drop.id}"]`);
    const dialog = page.getByRole("dialog");
    for (const [open, ends] of [
      [page.getByRole("button", { name: "New drop" }), ["Close", "Create the drop"]],
      [row.getByRole("button", { name: "Edit" }), ["Close", "Save"]],
      [row.getByRole("button", { name: "Adjust" }), ["Close", "Adjust the stock"]],
      [row.getByRole("button", { name: "Cancel" }), ["Keep the drop", "Cancel the drop"]],
    ]) {
      await open.click();
      await dialog.waitFor();
      for (const words of ends) await isReachable(dialog.getByRole("button", { name: words }));
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
      if (ends[1] === "Create the drop") {
        // The error is visible, and so are the buttons.
        await dialog.getByLabel("Throttle: holds").fill("0");
        await dialog.getByLabel("Name").fill("A drop");
        await dialog.getByLabel("Price").fill("1");
        await dialog.getByRole("button", { name: "Create the drop" }).click();
        const error = dialog.locator(".error", { hasText: "Enter a number of at least 1." });
        await isReachable(error);
        for (const words of ends) await isReachable(dialog.getByRole("button", { name: words }));
      }
      await dialog.getByRole("button", { name: ends[0] }).click();
      await dialog.waitFor({ state: "detached" });
    }
  });
}

test("an error of the whole form is visible above its buttons", async (t) => {
  const drop = await createDrop({ description: "Long. ".repeat(100) });
  const page = await openDashboard(t, { ...PHONE, expected: [/status of 412/] });
  await page.locator(`tr[data-drop-id="${drop.id}"]`).getByRole("button", { name: "Edit" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill("Mine");
  await edit(drop, { name: "Theirs" });
  await dialog.getByRole("button", { name: "Save" }).click();
  await isReachable(dialog.getByRole("alert").locator(".error"));
  await isReachable(dialog.getByRole("button", { name: "Load the new version, keep my changes" }));
});

test("no column of the chart's table is cut off, for any window and with large numbers", async (t) => {
  const drop = await createDrop({ total_stock: 30_000, max_per_hold: 1000, hold_seconds: 600 });
  for (let hold = 0; hold < 12; hold += 1) {
    const { id } = await api("POST", `/v1/drops/${drop.id}/holds`, {
      buyer_id: `buyer ${hold}`,
      quantity: 1000,
    });
    await (hold % 2 ? api("DELETE", `/v1/holds/${id}`) : api("POST", `/v1/holds/${id}/purchase`));
  }
  const page = await openDashboard(t, PHONE);
  const table = page.locator("#chart-table");
  for (const window of ["1h", "24h", "7d"]) {
    await page.locator("#window").selectOption(window);
    await expectText(table, /\d,\d{3}/);
    const { inner, outer } = await table.evaluate((box) => ({
      inner: box.scrollWidth,
      outer: box.clientWidth,
    }));
    assert.ok(inner <= outer, `${window}: ${inner} px in ${outer}`);
    const last = table.locator("th").last();
    assert.equal(await last.innerText(), "Released");
    const box = await boxOf(last);
    assert.ok(box.x + box.width <= 360, `${window}: it ends at ${box.x + box.width}`);
  }
});

test("a table that scrolls sideways has shadows at its edges", async (t) => {
  await createDrop({ name: "A drop with a name that takes much of the width of a table" });
  const page = await openDashboard(t, { viewport: { width: 800, height: 720 } });
  const scrolled = page.locator("drop-table .scroll");
  await eventually("the table is wider than its container", () =>
    scrolled.evaluate((box) => box.scrollWidth > box.clientWidth),
  );
  const shadows = await scrolled.evaluate((box) => getComputedStyle(box).backgroundAttachment);
  assert.equal(
    shadows,
    "local, local, scroll, scroll",
    "two layers that scroll with the content cover two shadows",
  );
});
