import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger';

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
      },
    },
  },
  refResolver: {
    buildLocalReference: (json, _baseUri, _fragment, index) =>
      typeof json.$id === 'string' ? json.$id : `schema-${index}`,
  },
};

/** Marks a route of the document as one that needs a key. */
export const NEEDS_KEY = [{ apiKey: [] }];
