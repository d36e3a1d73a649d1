"use strict";
// Names come from other people: they are only ever text, never markup.

const EVERY_MS = 2000;
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

const at = (id) => document.getElementById(id);

function size(count) {
  let unit = 0;
  while (count >= 1024 && unit < UNITS.length - 1) { count /= 1024; unit += 1; }
  return `${unit ? count.toFixed(1) : count} ${UNITS[unit]}`;
}

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function fill(id, items, none) {
  at(id).replaceChildren(...(items.length ? items : [element("li", none)]));
}

function summary(status) {
  const cache = status.cache, uploads = status.uploads;
  return [
    ["workspace", `${status.workspace_name} at ${status.url}`],
    ["daemon", `pid ${status.pid}, mountfs ${status.version}${status.read_only ? ", read-only" : ""}`],
    ["cache", `${size(cache.used_bytes)} of ${size(cache.limit_bytes)}, ${cache.files} files, ${size(cache.dirty_bytes)} to send`],
    ["to upload", `${uploads.pending_count} changes, ${size(uploads.pending_bytes)}`],
    ["sent, fetched", `${size(status.sent_bytes)}, ${size(status.fetched_bytes)} since the start`],
    ["conflicts", String(status.conflicts)],
    ["pinned", status.pinned.join(", ") || "nothing"],
  ];
}

function showState(status) {
  at("mountpoint").textContent = status.mountpoint;
  at("state").className = status.online ? "" : "bad";
  at("state").textContent = status.online
    ? (status.feed_live ? "online" : "online, the change feed is down")
    : `offline${status.last_error ? `: ${status.last_error}` : ""}`;
  at("summary").replaceChildren(...summary(status).flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

function showUploads(uploads) {
  const active = uploads.active.map((each) => {
    const row = element("li", "");
    const bar = document.createElement("progress");
    bar.max = each.size_bytes || 1;
    bar.value = each.sent_bytes;
    row.append(bar, `${each.path}, ${size(each.sent_bytes)} of ${size(each.size_bytes)}`);
    return row;
  });
  const failed = uploads.failed.map((each) => element("li", `${each.path}: ${each.reason}. ${each.hint}`, "bad"));
  fill("uploads", [...failed, ...active], "none under way");
}

function showLocks(locks) {
  fill("locks", locks.map((each) => element(
    "li",
    `${each.path}: ${each.kind}, ${each.owners} holding, ${each.waiters} waiting${each.lost ? `, ${each.lost} lost` : ""}`,
    each.lost ? "bad" : "",
  )), "none in use");
}

function showActivity(events) {
  fill("activity", events.map((each) => element("li", `${each.time} ${each.event} ${each.path}${each.reason ? `: ${each.reason}` : ""}`)), "nothing yet");
}

async function ask(address) {
  const answer = await fetch(address, { cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
  return answer.json();
}

async function refresh() {
  try {
    const [status, activity] = await Promise.all([ask("status.json"), ask("activity.json")]);
    showState(status);
    showUploads(status.uploads);
    showLocks(status.locks);
    showActivity(activity.events);
  } catch (error) {
    at("state").className = "bad";
    at("state").textContent = `the daemon does not answer: ${error.message}`;
  }
  setTimeout(refresh, EVERY_MS);
}

at("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const told = await ask(`versions.json?path=${encodeURIComponent(at("path").value)}`);
    fill("versions", told.versions.map((each) => element("li", [each.created_at, each.size === null ? "" : size(each.size), each.author, each.id, each.current ? "present" : ""].filter(Boolean).join(" · "))), "none");
  } catch (error) {
    fill("versions", [element("li", error.message, "bad")], "");
  }
});

refresh();
