# One image for all roles: docker run gantry [standalone|nameserver|broker|gateway] [--option …]
# The build stage has a toolchain, because the rocksdb package brings no prebuilt binary for linux-arm64.
FROM node:20-bookworm AS build
WORKDIR /gantry
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json openapi.yaml kafka-rest.yaml ./
COPY api api
COPY src src
COPY storage storage
COPY bench bench
COPY cluster cluster
RUN npm run build && npm prune --omit=dev

FROM node:20-bookworm-slim
ENV NODE_ENV=production GANTRY_HOST=0.0.0.0 GANTRY_DATA=/data
WORKDIR /gantry
COPY --from=build --chown=node:node /gantry/package.json /gantry/openapi.yaml /gantry/kafka-rest.yaml ./
COPY --from=build --chown=node:node /gantry/node_modules node_modules
COPY --from=build --chown=node:node /gantry/dist dist
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 8080 9876
# A NameServer listens on 9876 alone, a broker or a gateway on 8080: whichever answers is the one that runs here.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "const ports = [process.env.GANTRY_PORT, 8080, 9876].filter(Boolean); Promise.any(ports.map((p) => fetch(`http://127.0.0.1:${p}/livez`).then((r) => { if (!r.ok) throw new Error(String(r.status)); }))).then(() => process.exit(0), () => process.exit(1));"]
ENTRYPOINT ["node", "dist/src/main.js"]
CMD ["standalone"]
