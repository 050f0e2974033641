// Web Push for this buyer in this browser: notifications while no page of the shop is open.
//
// The browser's permission is requested only by `start`, which a click calls. The subscription is
// for the shop's key; one that was made for another key is replaced when a page opens.

import { call } from "./api.js";
import { at } from "./base.js";
import { buyerId, recall, remember } from "./buyer.js";
import { ofBuyer } from "./choices.js";

/**
 * `unsupported`: the browser has no Web Push, or the page has no HTTPS. `denied`: the browser
 * blocks notifications of this site.
 * @typedef {"unsupported" | "denied" | "off" | "on"} PushState
 */

const WORKER = at("/push.js");
/** The worker shows the pages below this path. */
const SCOPE = at("/");
/** The buyer and the address that the server knows. */
const KNOWN = "holdfast.push";
const SUBSCRIPTIONS = "push-subscriptions";

/** @type {{createScriptURL(url: string): string} | undefined} */
let policy;

/**
 * The address of the service worker, as a trusted one: the content security policy of the pages
 * permits no other.
 */
function workerAddress() {
  const { trustedTypes } = /** @type {any} */ (window);
  policy ??= trustedTypes?.createPolicy("push-worker", {
    createScriptURL: (/** @type {string} */ url) => (url === WORKER ? url : ""),
  });
  return policy?.createScriptURL(WORKER) ?? WORKER;
}

function isSupported() {
  return (
    window.isSecureContext &&
    "serviceWorker" in navigator &&
    "PushManager" in window &&
    "Notification" in window
  );
}

async function present() {
  const registration = await navigator.serviceWorker.getRegistration(SCOPE);
  return (await registration?.pushManager.getSubscription()) ?? null;
}

async function shopKey() {
  const { application_server_key } = await call("/v1/push/application-server-key");
  const base64 = application_server_key.replaceAll("-", "+").replaceAll("_", "/");
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** @param {PushSubscription} subscription @param {Uint8Array} key */
function isFor(subscription, key) {
  const own = subscription.options.applicationServerKey;
  return own !== null && String(new Uint8Array(own)) === String(key);
}

/** @param {PushSubscription} subscription */
const asKnown = ({ endpoint }) => JSON.stringify([buyerId(), endpoint]);

/** @param {PushSubscription} subscription */
async function report(subscription) {
  await call(ofBuyer(SUBSCRIPTIONS), { method: "POST", body: subscription.toJSON() });
  remember(KNOWN, asKnown(subscription));
}

/** @returns {Promise<PushState>} */
export async function pushState() {
  if (!isSupported()) return "unsupported";
  if (Notification.permission === "denied") return "denied";
  return (await present()) ? "on" : "off";
}

async function subscribe() {
  const registration = await navigator.serviceWorker.register(workerAddress(), { scope: SCOPE });
  await navigator.serviceWorker.ready;
  const key = await shopKey();
  const { pushManager } = registration;
  const before = await pushManager.getSubscription();
  if (before && !isFor(before, key)) await before.unsubscribe();
  const subscription = await pushManager.subscribe({
    userVisibleOnly: true,
    applicationServerKey: key,
  });
  try {
    await report(subscription);
  } catch (problem) {
    // The page must not say that it is on.
    await subscription.unsubscribe();
    throw problem;
  }
}

/** Notifies this buyer in this browser, if the person permits it. */
export async function startPush() {
  if ((await Notification.requestPermission()) === "granted") await subscribe();
  return await pushState();
}

/** Notifies this buyer in this browser no more. */
export async function stopPush() {
  const subscription = await present();
  if (subscription) {
    const body = { endpoint: subscription.endpoint };
    await call(ofBuyer(SUBSCRIPTIONS), { method: "DELETE", body });
    await subscription.unsubscribe();
  }
  remember(KNOWN, "");
  return await pushState();
}

/** Renews a subscription that the server does not know, or that is for another key of the shop. */
export async function keepPush() {
  if ((await pushState()) !== "on" || Notification.permission !== "granted") return;
  const [subscription, key] = await Promise.all([present(), shopKey()]);
  if (!subscription) return;
  if (!isFor(subscription, key)) await subscribe();
  else if (recall(KNOWN) !== asKnown(subscription)) await report(subscription);
}
