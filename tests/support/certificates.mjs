// Certificates for servers that speak TLS, made anew by openssl for each test that wants them.
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const forThisMachine = 'IP:127.0.0.1,DNS:localhost';

/** A directory's certificates: `authority()` and `selfSigned()` give {path, key, cert, sign}. */
export class Certificates {
  constructor(context) {
    this.directory = mkdtempSync(join(tmpdir(), 'sluice-test-tls-'));
    context.after(() => rmSync(this.directory, {recursive: true, force: true}));
    this.count = 0;
  }

  make(names, ...options) {
    const path = join(this.directory, `${++this.count}.pem`);
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
      '-keyout', `${path}.key`, '-out', path, '-subj', `/CN=test ${this.count}`, ...(names ? ['-addext', `subjectAltName=${names}`] : []), ...options], {stdio: 'pipe'});
    return {path, key: readFileSync(`${path}.key`), cert: readFileSync(path)};
  }

  selfSigned(names = forThisMachine) { return this.make(names); }

  authority() {
    const authority = this.make(null, '-addext', 'basicConstraints=critical,CA:TRUE');
    const sign = (names = forThisMachine) => this.make(names, '-CA', authority.path, '-CAkey', `${authority.path}.key`, '-addext', 'basicConstraints=critical,CA:FALSE');
    return {...authority, sign};
  }
}
