// Push as a Node.js job would, with prom-client: node push.js URL VERB JOB GROUPINGS_AS_JSON [gzip]
'use strict';

const client = require('prom-client');

const [url, verb, jobName, groupings, encoding] = process.argv.slice(2);

new client.Counter({ name: 'rows_total', help: 'Rows read.', labelNames: ['table'] }).labels('users').inc(1500);
new client.Gauge({ name: verb.toLowerCase() + '_only', help: 'Which verb it was.' }).set(1);
new client.Summary({ name: 'stage_seconds', help: 'A stage.', percentiles: [0.5] }).observe(2.5);
const latency = new client.Histogram({ name: 'latency_seconds', help: 'Latency.', buckets: [0.1, 1, 10] });
[0.05, 0.5, 5, 50].forEach((seconds) => latency.observe(seconds));

const headers = encoding ? { 'Content-Encoding': encoding } : {};
new client.Pushgateway(url, { timeout: 20000, headers })[verb]({ jobName, groupings: JSON.parse(groupings) })
  .then(({ resp }) => console.log(resp.statusCode))
  .catch((error) => {
    console.log(error.message);
    process.exitCode = 1;
  });
