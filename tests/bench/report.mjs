// Writes docs/measurements/benchmarks.md and its plots from what was kept of the last runs, without measuring anything.
//
//     node tests/bench/report.mjs [DIRECTORY]
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {projectPath} from '../support/sluice.mjs';
import {fanoutPlots, fanoutRatios, fanoutReport} from './fanout_report.mjs';
import {keptResult} from './measuring.mjs';
import {relayPlots, relayRatios, relayReport} from './relay_report.mjs';
import {runsRatios, runsReport} from './runs_report.mjs';

const parts = [
  {name: 'fanout', heading: 'Fan-out', report: fanoutReport, ratios: fanoutRatios, plots: fanoutPlots},
  {name: 'relay', heading: 'Streams one to one', report: relayReport, ratios: relayRatios, plots: relayPlots},
  {name: 'runs', heading: 'Runs, memory, start and end', report: runsReport, ratios: runsRatios, plots: () => ({})},
];

const kept = (names) => parts.filter(({name}) => !names || names.includes(name)).flatMap((part) => {
  const result = keptResult(part.name);
  return result ? [{...part, result}] : [];
});

/** The ratios and targets of these parts, for the terminal. */
export const ratiosOf = (names) => kept(names).map(({heading, ratios, result}) => `== ${heading}\n\n${ratios(result)}`).join('\n');

/** What could not be had at all, as scripts/install-deps.sh bench wrote it down. */
function absentPeers() {
  const file = projectPath('build-peers/absent');
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8').split('\n').filter(Boolean).map((line) => line.split('\t')).map(([name, why]) => `- ${name}: not measured; ${why}.`);
}

/** The machine, and whether it was quiet: a load average of 0.3 is a machine with nothing else to do. */
const measuredOn = ({date, machine, rounds, quick, busy}) =>
  `Measured on ${date}, ${machine.cores} cores of ${machine.processor}, Linux ${machine.kernel}${rounds ? `, ${rounds} rounds` : ''}${quick ? ' of the short form' : ''}` +
  `${Number.isFinite(busy) ? `; the load average before all of it was ${busy.toFixed(1)}` : ''}.`;

function page(all) {
  const versions = Object.assign({}, ...all.map(({result}) => result.versions));
  return [
    '# Benchmarks', '',
    '<!-- Written by `make bench`: change tests/bench/report.mjs and its neighbours, or measure again. -->', '',
    '`make bench` installs the servers to compare with, builds, measures, and writes this page; `make bench PART=fanout` (or `relay`, `runs`) does one part,',
    '`make bench QUICK=1 ROUNDS=1` tries it out. What was measured is kept in `build/bench/*.json`. The settings of all servers, each with the documentation that it follows,',
    'are in `tests/bench/peers/`.', '',
    'In each round each server is started anew and the order changes. The server has one core, the client and the source of the events the other one, unless',
    'said otherwise. Figures are the median of the rounds, in parentheses the lowest and the highest. A machine is noisy: only ratios within one run count.', '',
    ...(Object.keys(versions).length ? [`Versions: ${Object.entries(versions).map(([name, version]) => `${name}: ${version}`).join('; ')}.`, ''] : []),
    ...absentPeers(), '',
    ...all.flatMap(({heading, report, result}) => [`## ${heading}`, '', measuredOn(result), '', report(result), '']),
  ].join('\n').replace(/\n{3,}/g, '\n\n').trimEnd();
}

/** Writes the page and its plots. */
export function writeReport(directory = projectPath('docs/measurements')) {
  const all = kept();
  writeFileSync(join(directory, 'benchmarks.md'), `${page(all)}\n`);
  for (const [name, svg] of all.flatMap(({plots, result}) => Object.entries(plots(result)))) writeFileSync(join(directory, name), svg);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeReport(process.argv[2]);
