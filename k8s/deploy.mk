# Images and clusters. Included by the Makefile; docs/deploy.md tells the whole way.

REGISTRY ?= bongsu
TAG      ?= 0.1.0
ENV      ?= local
SESSIONS ?= off
IMAGES   ?= motion detect function caption api $(if $(filter-out off,$(SESSIONS)),sessions)
export SESSIONS

.PHONY: build push images up down secrets render deploy undeploy status logs dead restore savings

build: ## Build the images: REGISTRY=, TAG=, IMAGES="motion detect function caption api fleet detect-cuda"
	@for image in $(IMAGES); do \
	  echo "$(REGISTRY)/$$image:$(TAG)"; \
	  docker build --quiet --file docker/Dockerfile --target $$image --tag $(REGISTRY)/$$image:$(TAG) \
	    $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) $(if $(BUILD_IMAGE),--build-arg BUILD_IMAGE=$(BUILD_IMAGE)) \
	    $(foreach extras,FUNCTION_EXTRAS CAPTION_EXTRAS MOTION_EXTRAS,$(if $($(extras)),--build-arg $(extras)=$($(extras)))) \
	    --build-arg VERSION=$(TAG) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) . || exit 1; \
	done

push: ## Push the images to REGISTRY=
	@for image in $(IMAGES); do docker push $(REGISTRY)/$$image:$(TAG) || exit 1; done

images: ## Show each image's size, and what it cannot import
	@sh docker/images.sh $(REGISTRY) $(TAG)

COMPOSE = REGISTRY=$(REGISTRY) TAG=$(TAG) PORT=$(PORT) CAMERAS=$(abspath $(or $(CAMERAS),cameras.yaml)) \
  docker compose --env-file k8s/overlays/local/secrets/passwords.env --file docker/compose.yaml

up: ## Run all images on this host with docker compose, nothing scaled: CAMERAS=cameras.yaml, PORT=
	@$(PYTHON) k8s/credentials.py --check local
	@test -f $(or $(CAMERAS),cameras.yaml) || { echo "$(or $(CAMERAS),cameras.yaml): no such file: cp cameras.example.yaml cameras.yaml, or say CAMERAS="; exit 1; }
	@$(COMPOSE) up --detach && echo "page: http://127.0.0.1:$(PORT)/"

down: ## Stop what make up started; its volumes stay
	@$(COMPOSE) down

secrets: $(STAMP) ## Make passwords and keys for ENV=local|edge, and the files that hold them (never in git)
	@$(BIN)/python k8s/credentials.py $(ENV)

render: ## Print what make deploy would apply
	@sh k8s/deploy.sh render $(ENV) $(REGISTRY) $(TAG)

deploy: ## Put the relay on the cluster of kubectl's context: ENV=local|edge, REGISTRY=, TAG=, SESSIONS=on
	@sh k8s/deploy.sh deploy $(ENV) $(REGISTRY) $(TAG)

undeploy: ## Take it off again; volumes stay, unless VOLUMES=delete
	@sh k8s/deploy.sh undeploy $(ENV) $(VOLUMES)

status: ## Show what runs on the cluster, what waits in the queues
	@sh k8s/deploy.sh status $(ENV)

logs: ## Follow the logs of one function: F=post
	@sh k8s/deploy.sh logs $(ENV) $(F)

dead: ## Look at the cluster's dead letters: ARGS="list", "show ID", "replay ID" or "replay --all"
	@sh k8s/deploy.sh dead $(ENV) $(ARGS)

restore: ## Read a nightly dump back into the database: FILE=bongsu-….sql.gz
	@sh k8s/deploy.sh restore $(ENV) $(FILE)

savings: $(STAMP) ## Replay a day through the scaling rules: what sleeping saves against always on
	@$(BIN)/python -m bench.savings $(ARGS)
