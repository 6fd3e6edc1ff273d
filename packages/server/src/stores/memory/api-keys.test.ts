import { describeApiKeyStore } from '../../../contract/api-key-store-contract.ts';
import { MemoryApiKeyStore } from './api-keys.ts';

describeApiKeyStore('memory', async () => new MemoryApiKeyStore());
