// Time series as an SVG, with nothing but text: panels below each other over one axis of time.

const width = 860;
const panelHeight = 150;
const left = 70;
const right = 20;
const gap = 52;
const colours = ['#1f6feb', '#d1570b', '#2da44e', '#8250df'];

/** A round number not below `value`. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function panel({title, series}, times, top) {
  const inner = width - left - right;
  const highest = roundUp(Math.max(...series.flatMap(({values}) => values.filter(Number.isFinite)), 1e-6) * 1.05);
  const x = (time) => left + (inner * (time - times[0])) / Math.max(times.at(-1) - times[0], 1e-9);
  const y = (value) => top + panelHeight - (panelHeight * value) / highest;
  const lines = [0, 0.5, 1].map((part) => `<line x1="${left}" x2="${width - right}" y1="${y(highest * part)}" y2="${y(highest * part)}" stroke="#d0d7de"/>` +
    `<text x="${left - 8}" y="${y(highest * part) + 4}" text-anchor="end">${Number((highest * part).toPrecision(3))}</text>`);
  const curves = series.map(({values}, i) => {
    const points = values.flatMap((value, at) => (Number.isFinite(value) ? [`${x(times[at]).toFixed(1)},${y(value).toFixed(1)}`] : []));
    return `<polyline fill="none" stroke="${colours[i]}" stroke-width="1.5" points="${points.join(' ')}"/>`;
  });
  const legend = series.map(({name}, i) => `<tspan fill="${colours[i]}" dx="14">${name}</tspan>`);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const time = times[0] + (times.at(-1) - times[0]) * part;
    return `<text x="${x(time)}" y="${top + panelHeight + 16}" text-anchor="middle">${(time / 60).toFixed(1)} min</text>`;
  });
  return [`<text x="${left}" y="${top - 10}" font-weight="bold">${title}${legend.join('')}</text>`, ...lines, ...curves, ...ticks].join('\n');
}

/** `panels`: [{title, series: [{name, values}]}], `times` in seconds. */
export function plotSvg(heading, times, panels) {
  const height = 40 + panels.length * (panelHeight + gap);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<rect width="${width}" height="${height}" fill="#ffffff"/>
<text x="${left}" y="20" font-size="14">${heading}</text>
${panels.map((each, i) => panel(each, times, 56 + i * (panelHeight + gap))).join('\n')}
</svg>
`;
}
