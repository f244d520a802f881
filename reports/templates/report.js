// The charts with uPlot: zoom and a cursor, shared by all of them. The pictures are complete without it.
"use strict";
(() => {
  const strips = [...document.querySelectorAll(".strip")];
  const [head] = strips;
  const css = (name, element) => getComputedStyle(element).getPropertyValue(name).trim();
  const AXIS_PX = () => parseFloat(css("padding-left", document.querySelector(".plot")));
  const known = new Map(); // colours by their CSS, as a canvas takes them
  const DASHES = [[], [6, 2.5], [2, 2.5], [9, 2.5, 2, 2.5]];
  const TOP_PX = 5;
  const BELOW_PX = 19;
  let view = null; // the stretch of time that is shown; null: the whole run
  let asked = null; // the stretch that a link named

  const short = (value) =>
    Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));

  function colour(text) {
    if (!known.has(text)) {
      const probe = document.body.appendChild(Object.assign(document.createElement("i"), { hidden: true }));
      probe.style.color = text;
      known.set(text, css("color", probe));
      probe.remove();
    }
    return known.get(text);
  }

  function times(deltas) {
    let at = 0;
    return deltas.map((delta) => (at += delta) / 100);
  }

  function table(data) {
    const grids = data.grids.map(times);
    // 2: a hole of one curve reaches to its own neighbours, not to times at which only others have points.
    const holes = data.series.map(() => [2, 2]);
    if (!data.stacked) return uPlot.join(data.series.map((one) => [grids[one.grid], one.y]), holes);
    const sums = [];
    data.series.forEach((one, n) => sums.push(one.y.map((y, at) => y + (n ? sums[n - 1][at] : 0))));
    return [grids[data.series[0].grid], ...sums.reverse()]; // the areas from the top down: each hides what is not its own
  }

  function curve(data, keys, shownAs) {
    const one = data.series[shownAs];
    const stroke = colour(keys[shownAs].parentElement.style.getPropertyValue("--c"));
    const dash = [...keys[shownAs].classList].map((name) => /^d(\d)$/.exec(name)).find(Boolean);
    if (data.stacked) return { label: one.name, fill: stroke, width: 0, paths: uPlot.paths.stepped({ align: 0 }), points: { show: false } };
    if (one.marks) return { label: one.name, stroke, width: 0, paths: () => null, points: { show: true, size: 5, fill: stroke } };
    return { label: one.name, stroke, width: 1.4, dash: dash ? DASHES[Number(dash[1])] : [], points: { show: false } };
  }

  function band(u, [from, to], colour) {
    const { left, top, width, height } = u.bbox;
    const begin = Math.max(left, u.valToPos(from, "x", true));
    const end = Math.min(left + width, u.valToPos(to, "x", true));
    if (end <= begin) return null;
    u.ctx.fillStyle = colour;
    u.ctx.fillRect(begin, top, end - begin, height);
    return [begin, end];
  }

  function upright(u, t, colour, dash) {
    const x = u.valToPos(t, "x", true);
    const { left, top, width, height } = u.bbox;
    if (x < left || x > left + width) return;
    u.ctx.strokeStyle = colour;
    u.ctx.lineWidth = devicePixelRatio;
    u.ctx.setLineDash(dash.map((part) => part * devicePixelRatio));
    u.ctx.beginPath();
    u.ctx.moveTo(x, top);
    u.ctx.lineTo(x, top + height);
    u.ctx.stroke();
  }

  function under(data) {
    return (u) => {
      u.ctx.save();
      data.faults.forEach((one) => band(u, one, colour("var(--fault)")));
      data.disturbed.forEach((one) => band(u, one, colour("var(--disturbed)")));
      data.gaps.forEach((one) => hole(u, one));
      if (asked) band(u, asked, colour("var(--asked)"));
      u.ctx.restore();
    };
  }

  function hole(u, gap) {
    const found = band(u, gap, "transparent");
    if (!found) return;
    const { top, height } = u.bbox;
    const [begin, end] = found;
    const step = 7 * devicePixelRatio;
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(begin, top, end - begin, height);
    u.ctx.clip();
    u.ctx.strokeStyle = colour("var(--hole)");
    u.ctx.lineWidth = devicePixelRatio;
    u.ctx.beginPath();
    for (let x = begin - height; x < end; x += step) {
      u.ctx.moveTo(x, top + height);
      u.ctx.lineTo(x + height, top);
    }
    u.ctx.stroke();
    u.ctx.fillStyle = colour("var(--soft)");
    u.ctx.font = `${11 * devicePixelRatio}px ${css("font-family", document.body)}`;
    u.ctx.textAlign = "center";
    if (u.ctx.measureText("data incomplete").width < end - begin)
      u.ctx.fillText("data incomplete", (begin + end) / 2, top + 14 * devicePixelRatio);
    u.ctx.restore();
  }

  function over(data) {
    return (u) => {
      u.ctx.save();
      data.phases.forEach((t) => upright(u, t, colour("var(--begins)"), []));
      data.moments.forEach(([t, kind]) => upright(u, t, colour(`var(--moment-${kind})`), [2, 3]));
      if (data.limit !== null) {
        const y = u.valToPos(data.limit, "y", true);
        u.ctx.strokeStyle = colour("var(--moment-alert)");
        u.ctx.lineWidth = devicePixelRatio;
        u.ctx.setLineDash([4, 3].map((part) => part * devicePixelRatio));
        u.ctx.beginPath();
        u.ctx.moveTo(u.bbox.left, y);
        u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
        u.ctx.stroke();
      }
      u.ctx.restore();
    };
  }

  function axes() {
    const common = { stroke: colour("var(--soft)"), font: `11px ${css("font-family", document.body)}`, ticks: { show: false } };
    return [
      { ...common, size: BELOW_PX, gap: 3, grid: { show: false }, values: (u, all) => all.map((t) => (u.valToPos(t, "x") > u.over.clientWidth - 12 ? "" : `${short(t)} s`)) },
      { ...common, size: AXIS_PX(), gap: 6, grid: { stroke: colour("var(--grid)"), width: 1 }, space: 28, values: (u, all) => all.map(short) },
    ];
  }

  function tell(chart) {
    return (u) => {
      chart.values.forEach((value, n) => {
        const at = chart.data.stacked ? u.cursor.idx : u.cursor.idxs[n + 1];
        if (u.cursor.left < 0 || u.cursor.idx === null) value.textContent = value.dataset.range;
        else {
          const y = at === null || at === undefined ? null : chart.data.stacked ? chart.data.series[n].y[at] : u.data[n + 1][at];
          value.textContent = y === null || y === undefined ? "not measured" : `${short(y)} ${chart.data.unit}`;
        }
      });
      if (chart.plot.matches(":hover, :focus")) {
        const t = u.cursor.left < 0 ? null : u.posToVal(u.cursor.left, "x");
        if (head) head.querySelector(".now").textContent = t === null ? "" : `t = ${t.toFixed(1)} s`;
      }
    };
  }

  function options(chart) {
    const { data, plot } = chart;
    const keys = [...chart.figure.querySelectorAll(".legend .key:not(.limit)")];
    const order = data.series.map((_, n) => (data.stacked ? data.series.length - 1 - n : n));
    return {
      width: plot.clientWidth,
      height: plot.clientHeight,
      padding: [TOP_PX, 0, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "run" }, y: false, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => show(null) } },
      scales: { x: { time: false, range: () => view || data.span }, y: { range: (u, low, high) => uPlot.rangeNum(0, Math.max(high || 0, data.limit || 0, 1), { min: { pad: 0, hard: 0 }, max: { pad: 0.05 } }) } },
      axes: axes(),
      series: [{}, ...order.map((n) => curve(data, keys, n))],
      hooks: {
        drawClear: [under(data)],
        draw: [over(data)],
        setCursor: [tell(chart)],
        setSelect: [(u) => u.select.width > 4 && show([u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")])],
      },
    };
  }

  function make(chart) {
    chart.u?.destroy();
    chart.u = new uPlot(options(chart), chart.table, chart.plot);
    chart.plot.classList.add("live");
  }

  function show(stretch, named = null) {
    view = stretch;
    asked = named;
    for (const { u, data } of charts) {
      u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      const [min, max] = view || data.span;
      u.setScale("x", { min, max });
    }
    const [begin, end] = view || charts[0].data.span;
    for (const strip of strips) {
      strip.style.setProperty("--begin", begin);
      strip.style.setProperty("--end", end);
      strip.querySelectorAll(".row i, .row span").forEach((bar) => (bar.hidden = Number(css("--t", bar)) < begin || Number(css("--f", bar)) > end));
    }
    if (head) head.querySelector("button").hidden = view === null;
  }

  function keys(chart, event) {
    const [from, to] = view || chart.data.span;
    const { u } = chart;
    const width = u.bbox.width / devicePixelRatio;
    const left = u.cursor.left < 0 ? width / 2 : u.cursor.left;
    const moved = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const zoomed = { "+": 0.5, "-": 2 }[event.key];
    if (moved) u.setCursor({ left: Math.min(Math.max(left + (moved * width) / (event.shiftKey ? 10 : 100), 0), width - 1), top: 1 }, true, true);
    else if (zoomed) {
      const [begin, end] = chart.data.span;
      const half = (zoomed * (to - from)) / 2;
      const middle = u.posToVal(left, "x");
      show(2 * half >= end - begin ? null : [Math.max(begin, middle - half), Math.min(end, middle + half)]);
    } else if (event.key === "Escape") show(null);
    else return;
    event.preventDefault();
  }

  const charts = [...document.querySelectorAll("figure.chart[data-series]")].map((figure) => {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const values = [...figure.querySelectorAll(".legend .key:not(.limit) ~ span")];
    values.forEach((value) => (value.dataset.range = value.textContent));
    return { figure, data, values, plot: figure.querySelector(".plot"), table: table(data) };
  });
  if (!charts.length) return;
  if (head) {
    const whole = Object.assign(document.createElement("button"), { type: "button", textContent: "whole run", hidden: true });
    whole.addEventListener("click", () => show(null));
    head.append(whole, Object.assign(document.createElement("output"), { className: "now" }));
    strips.at(-1).append(Object.assign(document.createElement("p"), { className: "help", textContent: "Drag in a chart to zoom, double-click for the whole run. Keys in a chart: ← → + − Esc." }));
  }
  for (const chart of charts) {
    make(chart);
    chart.plot.tabIndex = 0;
    chart.plot.setAttribute("role", "group");
    chart.plot.addEventListener("keydown", (event) => keys(chart, event));
  }
  addEventListener("resize", () => charts.forEach(({ u, plot }) => u.setSize({ width: plot.clientWidth, height: plot.clientHeight })));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    known.clear();
    charts.forEach(make);
  });

  // A link that names a stretch (data-from, data-to, seconds) shows it shaded, with as much before and after it.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-from]");
    if (!link) return;
    const [from, to] = [Number(link.dataset.from), Number(link.dataset.to || link.dataset.from)];
    const around = Math.max(to - from, 5);
    const [begin, end] = charts[0].data.span;
    show([Math.max(begin, from - around), Math.min(end, to + around)], [from, to]);
  });
})();
