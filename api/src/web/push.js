// The service worker of Web Push: shows notifications while no page of the shop is open, and opens
// the page of one that is clicked. It handles no requests and keeps no files, so pages load as
// without it. A browser replaces it when its text changes.

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
/** The first page of the shop. */
const home = new URL(worker.registration.scope);

worker.addEventListener("install", () => void worker.skipWaiting());
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));

/**
 * The message, or a general one: a browser that shows nothing withdraws the permission.
 * @param {PushMessageData | null} data
 * @returns {{title: string, body: string, url: string, tag: string}}
 */
function read(data) {
  try {
    const { title, body, url, tag } = data?.json() ?? {};
    if ([title, body, url, tag].every((part) => typeof part === "string")) {
      return { title, body, url, tag };
    }
  } catch {
    // Not JSON.
  }
  return { title: "News from the shop", body: "Open the shop to see it.", url: "/", tag: "news" };
}

worker.addEventListener("push", (event) => {
  const { title, body, url, tag } = read(event.data);
  const icon = new URL("assets/mark.svg", home).href;
  event.waitUntil(worker.registration.showNotification(title, { body, tag, icon, data: { url } }));
});

/** The address of a page of this shop, or the first page. @param {unknown} path */
function pageOf(path) {
  if (typeof path !== "string" || !path.startsWith("/")) return home;
  // Below the shop, also where that is below a path of its host.
  const url = new URL(`.${path}`, home);
  return url.href.startsWith(home.href) ? url : home;
}

/** Shows the page in a tab that has it already, or in a new one. @param {URL} url */
async function show(url) {
  const tabs = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  const tab = tabs.find((one) => new URL(one.url).pathname === url.pathname);
  if (tab) return await tab.focus();
  return await worker.clients.openWindow(url.href);
}

worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(show(pageOf(event.notification.data?.url)));
});
