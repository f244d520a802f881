// Hover values, a cursor shared by all charts, and zoom: drag over a stretch, double-click to see all again.
// The pictures are complete without it.
"use strict";
(() => {
  const charts = [...document.querySelectorAll("figure.chart[data-series]")].map((figure) => {
    const plot = figure.querySelector(".plot");
    const data = JSON.parse(figure.querySelector("script").textContent);
    const svg = plot.querySelector("svg");
    const cursor = plot.appendChild(Object.assign(document.createElement("div"), { className: "cursor", hidden: true }));
    return { plot, data, svg, cursor, whole: svg.getAttribute("viewBox").split(" ").map(Number) };
  });
  const hover = document.getElementById("hover");
  let view = null; // shown stretch of time, null = all
  let dragFrom = null;

  const shown = (chart) => view || chart.data.span;

  function timeAt(chart, clientX) {
    const box = chart.plot.getBoundingClientRect();
    const [x0, x1] = chart.data.x;
    const part = ((clientX - box.left) / box.width - (view ? 0 : x0)) / (view ? 1 : x1 - x0);
    const [from, to] = shown(chart);
    return from + Math.min(Math.max(part, 0), 1) * (to - from);
  }

  function placeCursor(chart, t) {
    const [from, to] = shown(chart);
    const [x0, x1] = view ? [0, 1] : chart.data.x;
    chart.cursor.style.left = `${100 * (x0 + ((t - from) / (to - from)) * (x1 - x0))}%`;
    chart.cursor.hidden = t < from || t > to;
  }

  function nearest(points, t) {
    let best = null;
    for (const point of points) {
      if (best === null || Math.abs(point[0] - t) < Math.abs(best[0] - t)) best = point;
    }
    return best;
  }

  function show(chart, event) {
    const t = timeAt(chart, event.clientX);
    charts.forEach((other) => placeCursor(other, t));
    const lines = chart.data.series.map((series) => {
      const point = nearest(series.points, t);
      return `${series.name}: ${point && point[1] !== null ? point[1] + " " + chart.data.unit : "not measured"}`;
    });
    hover.textContent = [`t = ${t.toFixed(1)} s`, ...lines].join("\n");
    hover.hidden = false;
    hover.style.left = `${Math.min(event.clientX + 14, innerWidth - hover.offsetWidth - 8)}px`;
    hover.style.top = `${Math.min(event.clientY + 14, innerHeight - hover.offsetHeight - 8)}px`;
  }

  function zoom(stretch) {
    view = stretch;
    for (const chart of charts) {
      const [left, top, width, height] = chart.whole;
      if (view === null) {
        chart.svg.setAttribute("viewBox", chart.whole.join(" "));
        chart.svg.removeAttribute("preserveAspectRatio");
        chart.svg.style.height = "";
        continue;
      }
      const drawn = chart.svg.getBoundingClientRect().height;
      const [x0, x1] = chart.data.x;
      const [from, to] = chart.data.span;
      const at = (t) => left + width * (x0 + ((t - from) / (to - from)) * (x1 - x0));
      chart.svg.style.height = `${drawn}px`;
      chart.svg.setAttribute("preserveAspectRatio", "none");
      chart.svg.setAttribute("viewBox", [at(view[0]), top, at(view[1]) - at(view[0]), height].join(" "));
    }
  }

  for (const chart of charts) {
    chart.plot.addEventListener("pointermove", (event) => show(chart, event));
    chart.plot.addEventListener("pointerleave", () => {
      hover.hidden = true;
      charts.forEach((other) => (other.cursor.hidden = true));
    });
    chart.plot.addEventListener("pointerdown", (event) => (dragFrom = timeAt(chart, event.clientX)));
    chart.plot.addEventListener("pointerup", (event) => {
      const to = timeAt(chart, event.clientX);
      if (dragFrom !== null && Math.abs(to - dragFrom) > 1) zoom([Math.min(dragFrom, to), Math.max(dragFrom, to)]);
      dragFrom = null;
    });
    chart.plot.addEventListener("dblclick", () => zoom(null));
  }
})();
