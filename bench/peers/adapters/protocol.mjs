// What an adapter in JavaScript answers with: see protocol.py, whose requests these are.
import fs from 'node:fs';
import readline from 'node:readline';

// A uint8 .npy as { shape, data }.
export function readNpy(path) {
  const bytes = fs.readFileSync(path);
  const wide = bytes[6] >= 2;
  const length = wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8);
  const begin = (wide ? 12 : 10) + length;
  const header = bytes.subarray(wide ? 12 : 10, begin).toString('latin1');
  if (!/'descr': *'\|u1'/.test(header) || /'fortran_order': *True/.test(header)) {
    throw new Error(`${path} is no uint8 array in C order`);
  }
  const shape = /'shape': *\(([^)]*)\)/.exec(header)[1].split(',').filter((s) => s.trim()).map(Number);
  return { shape, data: bytes.subarray(begin) };
}

// detector(variant) -> async (frame {shape, data}) -> rows of x, y, width, height, score;
// classifier(variant) -> { labels, classify: async (face of 48 x 48 bytes) -> probabilities }.
export async function serve({ detector, classifier }) {
  // Whatever a package prints must not be in the answers.
  const answer = (told) => fs.writeSync(1, `${JSON.stringify(told)}\n`);
  console.log = console.error;
  console.info = console.error;
  let work = null;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    try {
      if (request.do === 'open') {
        let labels = null;
        if (request.task === 'detect') work = await detector(request.variant);
        else ({ labels, classify: work } = await classifier(request.variant));
        answer({ labels });
        continue;
      }
      const arrays = request.files.map(readNpy);
      const items = request.end === null ? arrays : faces(arrays[0], request.begin, request.end);
      const answers = [];
      const ms = [];
      for (const item of items) {
        const began = performance.now();
        answers.push(await work(item));
        ms.push(performance.now() - began);
      }
      answer({ answers, ms });
    } catch (error) {
      answer({ error: `${error}`.split(/\s+/).join(' ').slice(0, 300) });
    }
  }
}

function faces({ shape, data }, begin, end) {
  const size = shape[1] * shape[2];
  return Array.from({ length: end - begin }, (_, i) => data.subarray((begin + i) * size, (begin + i + 1) * size));
}
