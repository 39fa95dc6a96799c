// The titles of what can be pointed at, at once instead of after a second.
(function () {
  var tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.appendChild(tip);
  document.querySelectorAll(".hit").forEach(function (hit) {
    var title = hit.querySelector("title");
    var text = title.textContent;
    title.remove();
    hit.addEventListener("pointermove", function (event) {
      tip.textContent = text;
      tip.hidden = false;
      var left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 6);
      var below = event.clientY + 18;
      tip.style.left = Math.max(4, left) + "px";
      tip.style.top = Math.max(4, Math.min(below, document.documentElement.clientHeight - tip.offsetHeight - 6)) + "px";
    });
    hit.addEventListener("pointerleave", function () { tip.hidden = true; });
  });
})();
