import type { FastifyInstance } from 'fastify';
import { Counter, Gauge, Histogram } from 'prom-client';
import type { HttpContext } from './context.ts';

/** Metrics of the server. Labels are routes as declared, never what a caller made up. */
export function addHttpMetrics(app: FastifyInstance, { deps, admission, tails }: HttpContext): void {
  const registers = [deps.metrics];
  const requests = new Counter({
    name: 'evident_http_requests_total',
    help: 'Answered requests',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const seconds = new Histogram({
    name: 'evident_http_request_seconds',
    help: 'Time from the headers of a request to the end of its answer',
    labelNames: ['route'],
    buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10],
    registers,
  });
  new Gauge({
    name: 'evident_http_ingest_bytes_in_flight',
    help: 'Bytes of ingest requests that are being received or appended',
    registers,
    collect() {
      this.set(admission.bytes);
    },
  });
  new Gauge({
    name: 'evident_http_tails',
    help: 'Open tail connections',
    registers,
    collect() {
      this.set(tails.bytes);
    },
  });
  app.addHook('onResponse', (request, reply, done) => {
    const route = request.is404 ? 'unknown' : (request.routeOptions.url ?? 'unknown');
    requests.inc({ method: request.is404 ? 'any' : request.method, route, status: reply.statusCode });
    seconds.observe({ route }, reply.elapsedTime / 1_000);
    done();
  });
}
