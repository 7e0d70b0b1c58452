// Keeps the page up to date. The server sends the whole content; only the parts that changed are exchanged, so that focus,
// selection and opened details stay where they are.
"use strict";

const content = document.getElementById("content");
const connection = document.getElementById("connection");

const tell = (text) => {
  if (connection.textContent !== text) connection.textContent = text;
};

const exchange = (old, fresh) => {
  if (old.isEqualNode(fresh)) return;
  const parts = old.querySelectorAll(":scope > [id], :scope > .services > [id]");
  const sameParts =
    Array.from(parts, (part) => part.id).join(" ") ===
    Array.from(fresh.querySelectorAll(":scope > [id], :scope > .services > [id]"), (part) => part.id).join(" ");
  for (const details of old.querySelectorAll("details[id]")) {
    const twin = fresh.querySelector("#" + CSS.escape(details.id));
    if (twin && details.dataset.touched) {
      twin.open = details.open;
      twin.dataset.touched = "1";
    }
  }
  if (!sameParts || parts.length === 0) {
    old.replaceChildren(...fresh.childNodes);
    return;
  }
  for (const part of parts) {
    const twin = fresh.querySelector("#" + CSS.escape(part.id));
    if (twin && !part.isEqualNode(twin)) part.replaceWith(twin);
  }
};

content.addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary) summary.parentElement.dataset.touched = "1";
});

const connect = () => {
  const source = new EventSource("/live");
  source.addEventListener("open", () => tell("Live"));
  source.addEventListener("content", (event) => {
    const fresh = document.createElement("main");
    fresh.innerHTML = event.data;
    exchange(content, fresh);
    tell("Live");
  });
  source.addEventListener("error", () => {
    tell("Connection lost, trying again. What you see may be old.");
    // The browser tries again by itself unless the answer was an error.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);
  });
};

document.documentElement.dataset.live = "on";
tell("Connecting");
connect();
