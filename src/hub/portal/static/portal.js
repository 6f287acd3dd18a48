// A little comfort; every page works without it. A page that comes back from the browser's memory after a sign-out is
// asked for anew, and a form is sent once.
"use strict";
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
addEventListener("submit", (event) => {
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  if (event.target.method === "post") event.target.dataset.sent = "yes";
});
