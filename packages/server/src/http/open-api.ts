import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';
import Type, { type TObject } from 'typebox';

const TILE_PARAMETER = Type.String({
  description:
    'Index of the tile, in groups of three digits, all but the last with an x: 000, x001/234, 000.p/17',
});

/** What the document says beside the routes, which describe themselves. */
export const OPEN_API: FastifyDynamicSwaggerOptions = {
  openapi: {
    openapi: '3.1.0',
    info: {
      title: 'Evident',
      version: '1',
      description: 'A tamper-evident event log. Refusals are problem documents (RFC 9457) with stable codes.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    components: {
      securitySchemes: {
        apiKey: {
          type: 'http',
          scheme: 'bearer',
          description: 'An API key, evident_<id>_<secret>, or a token of the identity provider',
        },
        metricsToken: {
          type: 'http',
          scheme: 'bearer',
          description:
            'The token of metrics.token in the data directory, or of the file that the settings name',
        },
      },
    },
  },
  // A tile's path has several segments, which a parameter of OpenAPI can't say; it is shown as one.
  transform: ({ schema, url }) => {
    if (!url.endsWith('/*')) return { schema, url };
    const { params } = schema as { params: TObject };
    const named = Type.Object({ ...params.properties, tile: TILE_PARAMETER });
    return { schema: { ...schema, params: named }, url: url.replace(/\*$/, ':tile') };
  },
  refResolver: {
    buildLocalReference: (json, _baseUri, _fragment, index) =>
      typeof json.$id === 'string' ? json.$id : `schema-${index}`,
  },
};

/** Marks a route of the document as one that needs a key. */
export const NEEDS_KEY = [{ apiKey: [] }];
/** Either will do. */
export const NEEDS_KEY_OR_METRICS_TOKEN: Record<string, string[]>[] = [{ apiKey: [] }, { metricsToken: [] }];
